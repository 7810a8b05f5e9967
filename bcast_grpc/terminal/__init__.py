"""The terminal program on top of the client library: ``python -m bcast_grpc.client`` and ``bcast-client``."""
