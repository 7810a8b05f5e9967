"""A room's log whose inputs and actions are written out, and records for it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.ids import Ids
from bcast_grpc.broker.nats.log.actions import (
    Action,
    ReadAfter,
    ReadEnd,
)
from bcast_grpc.broker.nats.log.record import Item, Record, encode, encode_item
from bcast_grpc.broker.nats.log.room_log import Incarnation, Limits, RoomLog
from bcast_grpc.events import Author, Entry

MS = 1_000_000
_Kind = TypeVar("_Kind")


class Hands(Clock):
    """A clock that is set by hand."""

    ns = 1_000 * MS

    def now_ns(self) -> int:
        """The steady clock."""
        return self.ns

    def wall_ns(self) -> int:
        """The clock on the wall."""
        return self.ns


class Desk:
    """A log whose inputs and actions are written out."""

    def __init__(self, limits: Limits | None = None, name: str = "me") -> None:
        self.clock = Hands()
        ids = Ids(Retention())
        self.log = RoomLog(Incarnation(name), ids, self.clock, Random(1), limits or Limits(claims_s=0))

    def open(self, *records: bytes) -> list[Action]:
        """Connect and read the whole log, whose records are at 1, 2, 3, …; return what is told."""
        (read,) = wanted(self.log.connected(), ReadAfter)
        actions = self.log.records(read.ticket, list(enumerate(records, 1)), more=False)
        (end,) = wanted(actions, ReadEnd)
        return actions + self.log.end(end.ticket, len(records), records[-1] if records else b"")

    def after(self, ms: float) -> list[Action]:
        """Let time pass."""
        self.clock.ns += int(ms * MS)
        return self.log.tick()


def wanted(actions: Sequence[Action], kind: type[_Kind]) -> list[_Kind]:
    """The actions of a kind."""
    return [action for action in actions if isinstance(action, kind)]


def entry(text: str, id_: str = "") -> Entry:
    """A message."""
    return Entry(Author("session", "", "key"), text, b"", id_)


def begins(epoch: str = "e1") -> bytes:
    """A record that begins an epoch."""
    return encode(Record(epoch, 0, f"{epoch}-begin", "", 1, "other"), ())


def record(first: int, previous: str, *texts: str, epoch: str = "e1", id_: str = "") -> bytes:
    """A record of another server; its id is its epoch and its first number."""
    items = [Item(f"other-{epoch}-{text}", entry(text, f"id {text}")) for text in texts]
    made = Record(epoch, first, id_ or f"{epoch}-{first}", previous, 1, "other", items)
    return encode(made, map(encode_item, items))
