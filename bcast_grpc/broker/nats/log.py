"""One server's side of the log of one room: it reads the records, and appends its own by compare-and-set.

No I/O: each input returns the actions to carry out. The clock and the randomness are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.ids import Ids
from bcast_grpc.broker.nats.actions import Action
from bcast_grpc.events import Entry


class Incarnation:
    """One run of a server, and the ids that it gives. Shared by all its rooms.

    Attributes:
        name: unique in the cluster: another one after each start. Letters and digits only.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._counter = count(1)

    def next_id(self) -> str:
        """Return an id that is unique in the cluster."""
        return f"{self.name}-{next(self._counter):x}"


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds and times of a room's log.

    Attributes:
        record_bytes: most bytes of a record; a single larger message gets a record of its own.
        record_items: most messages of a record.
        pending_items: how many unanswered messages make the log ``full``.
        pending_bytes: how many bytes of unanswered messages make it ``full``.
        tail_records: how many records are remembered by their ids.
        tail_items: how many messages of these are remembered by their ids.
        patience_s: after this time unanswered messages are refused with ``BROKER_UNAVAILABLE``.
        forward_s: how long a server is taken for the room's writer, and how long it is given to take messages along.
        answer_s: after this time a request counts as lost.
        anchor_s: at this age of the last record an empty one is appended, before the log expires.
    """

    record_bytes: int = 256 * 1024
    record_items: int = 1000
    pending_items: int = 16_384
    pending_bytes: int = 16 * 1024 * 1024
    tail_records: int = 256
    tail_items: int = 8192
    patience_s: float = 15.0
    forward_s: float = 0.3
    answer_s: float = 2.0
    anchor_s: float = 1800.0


class RoomLog:
    """Reads the log of a room and appends to it. See ``actions`` for what the inputs return.

    A new log is disconnected. The caller subscribes to the room's live records, calls ``connected`` when the
    subscription is surely in force, and passes everything on from then on. ``Began`` and the messages that the log
    still has come first, then ``level`` is true.

    Each entry that is submitted is answered exactly once, by one of the outcomes, in the order of submission.

    Attributes:
        ids: the ids of messages in the log.
    """

    def __init__(self, me: Incarnation, ids: Ids, clock: Clock, random: Random, limits: Limits) -> None:
        self.ids = ids

    # --- what is known

    @property
    def epoch(self) -> str:
        """The epoch of the last message that was told; empty before ``Began``."""
        raise NotImplementedError

    @property
    def head(self) -> int:
        """The ``seq`` of the last message that was told."""
        raise NotImplementedError

    @property
    def sequence(self) -> int:
        """The place in the stream of the last record that was read; 0 if none was. For heartbeats."""
        raise NotImplementedError

    @property
    def record(self) -> str:
        """The id of the record at ``sequence``; empty if there is none. For heartbeats."""
        raise NotImplementedError

    @property
    def level(self) -> bool:
        """Whether the end of the log is known, as far as that can be said."""
        raise NotImplementedError

    @property
    def full(self) -> bool:
        """Whether so much is unanswered that no more should be submitted for now."""
        raise NotImplementedError

    # --- inputs

    def connected(self) -> list[Action]:
        """Note that there is a connection, and that live records arrive."""
        raise NotImplementedError

    def disconnected(self) -> list[Action]:
        """Note that the connection is lost, and with it the answers to all requests."""
        raise NotImplementedError

    def live(self, sequence: int, previous: int, data: bytes) -> list[Action]:
        """Take a record of the live feed.

        Args:
            sequence: its place in the stream (``Nats-Sequence``).
            previous: the place of the record before it in this room (``Nats-Last-Sequence``).
            data: the payload.
        """
        raise NotImplementedError

    def records(self, ticket: int, records: Sequence[tuple[int, bytes]], more: bool) -> list[Action]:
        """Take the answer to ``ReadAfter``: records of this room with their places in the stream, in order.

        Args:
            ticket: of the request.
            records: places and payloads; none if there are none.
            more: whether the answer stopped at its bounds (``Nats-Num-Pending``).
        """
        raise NotImplementedError

    def end(self, ticket: int, sequence: int, data: bytes) -> list[Action]:
        """Take the answer to ``ReadEnd``: the last record; 0 and nothing if the leader has none (10037)."""
        raise NotImplementedError

    def failed(self, ticket: int) -> list[Action]:
        """Note that a read failed: no answer, or an error."""
        raise NotImplementedError

    def stored(self, ticket: int, sequence: int) -> list[Action]:
        """Note that the record was appended at ``sequence``."""
        raise NotImplementedError

    def refused(self, ticket: int, last: int | None) -> list[Action]:
        """Note that the record was not appended, because another is the last (10071, 10164).

        Args:
            ticket: of the append.
            last: the place of the last record, where the error named it.
        """
        raise NotImplementedError

    def unknown(self, ticket: int) -> list[Action]:
        """Note that nobody knows whether the record was appended."""
        raise NotImplementedError

    def submit(self, entries: Sequence[Entry]) -> list[Action]:
        """Put messages of this server's clients in order."""
        raise NotImplementedError

    def forwarded(self, data: bytes) -> list[Action]:
        """Take messages along that another server asks for. They are dropped if there is any doubt."""
        raise NotImplementedError

    def head_of_other(self, sequence: int, record: str) -> list[Action]:
        """Compare with what another server last read. See ``sequence`` and ``record``."""
        raise NotImplementedError

    def tick(self) -> list[Action]:
        """Do what is due. Harmless at any time."""
        raise NotImplementedError
