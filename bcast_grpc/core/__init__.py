"""The heart: who is in which room, and what is queued for whom.

It knows no gRPC, protobuf, sockets or files. A transport gives it an ``Encoder`` for bytes and a ``Scheduler`` for
time, and passes each client's requests to a ``Session``.
"""
