"""How clients are written in what servers say to each other. What another server says is checked before it is kept."""

from __future__ import annotations

from bcast_grpc.core.presence import Present
from bcast_grpc.events import Author
from bcast_grpc.log.v1 import peers_pb2 as pb

MAX_ROOM = 1024
MAX_ID = 64
"""No session and no epoch is longer."""

_MAX_NAME = 1024
_MAX_KEY = 16 * 1024


def encode(present: Present) -> pb.Present:
    """Return a client as it is written."""
    (session, name, key), since_ns, reader, asked = present
    return pb.Present(
        session=session,
        name=name,
        key="" if key == session else key,
        reader=reader,
        since_ns=since_ns,
        asked=asked,
    )


def decode(read: pb.Present) -> Present | None:
    """Return a client that another server tells of; None if that cannot be one."""
    session, name, key = read.session, read.name, read.key or read.session
    if not 0 < len(session) <= MAX_ID or len(name) > _MAX_NAME or len(key) > _MAX_KEY or read.since_ns < 0:
        return None
    return Present(Author(session, name, key), read.since_ns, read.reader, read.asked)


def size_of(present: Present) -> int:
    """Return about how many bytes a client takes in a message, at most; and less than half of what it takes here."""
    author = present.author
    return 64 + 4 * (len(author.session) + len(author.name) + len(author.key))
