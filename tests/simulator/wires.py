"""What a stream and the servers that use it have of each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from bcast_grpc.broker.nats.log.actions import Append


class Listener(Protocol):
    """One server's connection.

    Attributes:
        nats: the NATS server that it leads to.
    """

    nats: int

    def hear(self, sequence: int, previous: int, data: bytes) -> None:
        """Get a live record."""

    def answer(self, call: Callable[[], object], delay_ns: int) -> None:
        """Get an answer, unless the connection has been lost since it was asked for."""


class Proposal(NamedTuple):
    """An append that a leader has accepted, and not committed."""

    listener: Listener
    asked: Append
    answers: Appends
    generation: int
    term: int


class Appends(Protocol):
    """Takes the answers to appends, as a ``RoomLog`` does."""

    def stored(self, ticket: int, sequence: int) -> object:
        """It was appended."""

    def refused(self, ticket: int, last: int | None) -> object:
        """It was not."""

    def unknown(self, ticket: int) -> object:
        """Nobody was there."""


class Reads(Protocol):
    """Takes the answers to reads, as a ``RoomLog`` does."""

    def records(self, ticket: int, records: list[tuple[int, bytes]], more: bool) -> object:
        """Some records."""

    def end(self, ticket: int, sequence: int, data: bytes) -> object:
        """The last record."""

    def failed(self, ticket: int) -> object:
        """Nobody was there."""
