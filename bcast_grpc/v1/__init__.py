"""Generated from ``protos/bcast_grpc/v1/chat.proto`` by ``make protos``."""
