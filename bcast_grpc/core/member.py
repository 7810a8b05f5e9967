"""One client in a room, as the room sees it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bcast_grpc.core.batch import Frame
from bcast_grpc.core.outbox import Outbox, OutboxClosed
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Author, Event, Kind

logger = logging.getLogger(__name__)

MESSAGES_ONLY = frozenset({Kind.MESSAGE})


@dataclass(slots=True, eq=False)
class Member:
    """Who a client is, what it wants, and its outbox.

    Attributes:
        author: who it is to the others.
        outbox: what is queued for it.
        kinds: which kinds of the events that go to all it wants; messages are always among them.
        echo: whether it wants its own messages too.
        reader: whether it only reads (``Subscribe``).
        since_ns: since when it is connected, in nanoseconds since 1970.
        start: the number of the first run that it is to get.
        round: the flush that set its writer off, until that has written everything; 0: none.
    """

    author: Author
    outbox: Outbox
    kinds: frozenset[Kind] = MESSAGES_ONLY
    echo: bool = False
    reader: bool = False
    since_ns: int = field(default_factory=time.time_ns)
    start: int = 0
    round: int = 0

    def answer(self, answers: Sequence[Event]) -> None:
        """Queue answers to this client's own requests."""
        if not answers:
            return
        self.offer(self.outbox.codec.frames(answers))

    def begin_round(self, round_: int) -> int:
        """Take part in the round of writes of a flush; return 1, to be added up."""
        self.round = round_
        return 1

    def offer(self, frames: Sequence[Frame], *, wake: bool = True) -> bool | None:
        """Queue ``frames``. A client whose queue is full is disconnected. For ``wake`` see ``Outbox.offer``.

        Returns:
            False if the queue refused them; None if the client is leaving and gets nothing more.
        """
        outbox = self.outbox
        try:
            if outbox.offer(frames, wake=wake):
                return True
        except OutboxClosed:
            return None
        logger.warning("slow consumer: session %s, %d messages queued", self.author.session, outbox.queued_messages)
        outbox.close(slow_consumer(outbox), discard=True)
        return False


def slow_consumer(outbox: Outbox) -> CallError:
    """Return what ends the call of a client that does not read what is queued for it."""
    return CallError(
        ErrorCode.SLOW_CONSUMER,
        f"this client read too slowly: {outbox.max_messages} messages or {outbox.max_bytes} bytes is what is queued"
        " for one",
    )
