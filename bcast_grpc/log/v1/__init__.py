"""Generated from ``protos/bcast_grpc/log/v1/record.proto`` by ``make protos``."""
