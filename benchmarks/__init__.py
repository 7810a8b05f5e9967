"""Measure the fan-out of bcast_grpc beside its peers, in one run on one machine."""
