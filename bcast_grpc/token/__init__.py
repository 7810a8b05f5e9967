"""``python -m bcast_grpc.token``: makes and explains tokens, for first steps and for small installations."""
