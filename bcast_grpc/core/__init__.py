"""The heart: who is in which room, and what is queued for whom.

It knows no gRPC, no protobuf, no sockets and no files. A transport gives it a ``Encoder`` for bytes and a ``Scheduler``
for time, and hands each client's requests to a ``Session``.
"""
