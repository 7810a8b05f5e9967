"""The connection to a NATS server."""
