"""The kinds of brokers, and what their tests need: a clock, rooms, entries."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex
from typing import Any, Protocol

from bcast_grpc.broker.base import Accepted, Began, Broker, Outcome, Refused, Repeated
from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.memory import MemoryBroker
from bcast_grpc.broker.nats.broker import Cluster, NatsBroker
from bcast_grpc.broker.nats.connection.target import Target
from bcast_grpc.broker.sqlite import SqliteBroker
from bcast_grpc.errors import BcastError
from bcast_grpc.events import Author, Entry, Event, Stamp, wire_bytes
from tests import nats_server

from .desk import Desk


@dataclass
class ManualClock(Clock):
    """The time, which passes when it is told to; the wall's may step."""

    steady_ns: int = 5_000_000_000_000
    shown_ns: int = field(default_factory=time.time_ns)
    started: str = "today"

    def now_ns(self) -> int:
        """Return what all is measured by."""
        return self.steady_ns

    def wall_ns(self) -> int:
        """Return what is shown."""
        return self.shown_ns

    def boot(self) -> str:
        """Return the machine's last start."""
        return self.started

    def boot_ns(self) -> int:
        """Return what all processes measure by."""
        return self.steady_ns

    def pass_s(self, seconds: float) -> None:
        """Let it pass."""
        self.steady_ns += round(seconds * 1e9)
        self.step_s(seconds)

    def step_s(self, seconds: float) -> None:
        """Set the wall's clock forward, or back."""
        self.shown_ns += round(seconds * 1e9)


class Make(Protocol):
    """Makes a broker; with the same place it has what another one kept there."""

    def __call__(self, place: Path, retention: Retention, clock: ManualClock) -> Broker:
        """Make it."""


@dataclass(frozen=True)
class BrokerKind:
    """One kind of broker.

    Attributes:
        make: returns one.
        durable: whether another one that is made later goes on with what this one had.
        shared: whether other servers use the same log. It is kept by another program, by a clock of its own; and
            several submissions are answered together, or one in parts.
    """

    make: Make
    durable: bool = False
    shared: bool = False


def _nats(place: Path, retention: Retention, clock: ManualClock) -> NatsBroker:
    name = blake2b(bytes(place), digest_size=8).hexdigest()
    return NatsBroker(Cluster(Target([nats_server.shared().url]), name), retention, clock)


BROKERS = {
    "memory": BrokerKind(lambda _, retention, clock: MemoryBroker(retention, clock)),
    "sqlite": BrokerKind(lambda place, retention, clock: SqliteBroker(place / "store", retention, clock), durable=True),
    "nats": BrokerKind(_nats, durable=True, shared=True),
}

KEEPING = Retention(messages=1000, bytes=1 << 20, age_s=60, dedup_s=10)


def wait(broker: Desk[Any]) -> None:
    """Wait until everything that was published has been answered."""
    broker.wait()


@dataclass
class Room:
    """The room on the other side, and what was delivered to it.

    Attributes:
        deliveries: of each delivery the answers, as the kind of each and the texts in it.
    """

    deliveries: list[list[tuple[type[Outcome], list[str]]]] = field(default_factory=list)
    accepted_entries: list[tuple[int, Entry | None]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    repeated_entries: list[tuple[Entry, Stamp]] = field(default_factory=list)
    refused_entries: list[tuple[Entry, BcastError]] = field(default_factory=list)

    def __call__(self, outcomes: Sequence[Outcome]) -> None:
        """Take note of what became of entries."""
        answered = [outcome for outcome in outcomes if not isinstance(outcome, Began)]
        self.deliveries.append([(type(outcome), [e.message for e in outcome.entries if e]) for outcome in answered])
        for outcome in outcomes:
            match outcome:
                case Accepted(entries, events, sizes):
                    assert sizes == [wire_bytes(event) for event in events]
                    self.accepted_entries += [(event.seq, entry) for entry, event in zip(entries, events, strict=True)]
                    self.events += events
                case Repeated(entries, places):
                    self.repeated_entries += zip(entries, places, strict=True)
                case Refused(entries, error):
                    self.refused_entries += [(entry, error) for entry in entries]


def new_room() -> str:
    """A name that no order has had."""
    return f"room {token_hex(8)}"


def entries(*texts: str) -> list[Entry]:
    """Messages to put in order."""
    return [Entry(Author("session", "ana", "key"), f"ana: {text}", text.encode(), f"id {text}") for text in texts]


@contextmanager
def opened(
    kind: BrokerKind, place: Path, clock: ManualClock, retention: Retention
) -> Iterator[Callable[[], Desk[Broker]]]:
    """Give what makes a broker in place of the last one, which is closed."""
    brokers: list[Desk[Broker]] = []

    def reopen() -> Desk[Broker]:
        for broker in brokers:
            broker.close()
        brokers.append(Desk(kind.make(place, retention, clock)))
        return brokers[-1]

    yield reopen
    for broker in brokers:
        broker.close()
