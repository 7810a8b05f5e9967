"""A NATS server that this server starts for itself: ``program`` finds it, ``folder`` is where it keeps what it has."""
