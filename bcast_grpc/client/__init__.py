"""The client: a library (``bcast_grpc.connect`` and ``bcast_grpc.connect_sync``), and a program on top of it."""
