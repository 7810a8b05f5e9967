"""The heart: who is in which room, and what is queued for whom.

It knows no gRPC, protobuf, sockets or files. A transport gives it an ``Encoder`` for bytes and a ``Scheduler`` for
time, and passes each client's requests to a ``Session``. Begin with ``hub``, ``session`` and ``room``::

    hub, admission, hello, capacity, limits, peers   who may come in, and which rooms there are
    identity, permission, review, lease, standing    what a client may do, and for how long
    session, acceptance, intake, rate, publisher     what a client's requests do
    room, presence, roster, member, states, names    who is in a room
    fanout, pending, batch, push, clock, slices      the flushes of new messages to everyone
    feed, replay                                     the history, for those who are behind
    outbox, answers, notices, held                   what is queued for each client
    readiness, counts                                what health checks are answered, and metrics say
"""
