"""``python -m bcast_grpc.token``: makes tokens and explains them, for trying things out and for small installations."""
