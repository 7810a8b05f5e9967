"""Work on a log in NATS that servers share: ``log`` reads and writes it, and each command has a module."""
