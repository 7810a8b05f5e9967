"""The messages between the parent and its workers, and the pipes that carry them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from bcast_grpc.bench.histogram import Histogram
from bcast_grpc.bench.verify import Due, Faults
from bcast_grpc.errors import BcastError

MAX_EXAMPLES = 5
"""How many clients with faults are reported by number."""

# --- from a worker


@dataclass(frozen=True, slots=True)
class Joined:
    """All clients of this worker are connected."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A client of this worker could not connect."""

    error: BcastError


@dataclass(frozen=True, slots=True)
class Tick:
    """The progress of this worker's clients."""

    joined: int
    sent: int = 0
    delivered: int = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """The senders have stopped, and their answers are in: ``due`` is what all others must receive."""

    due: Mapping[int, Due]


@dataclass(slots=True)
class Result:
    """What the clients of a worker found, or those of all workers together.

    Attributes:
        servers: how many clients were let in by each server.
        unacknowledged: messages that the server has not answered.
        refused: messages that the server refused, by error code.
        disconnected: clients whose call ended early, by error code.
        reasons: the reason that the server gave, by error code.
        examples: some of the faults, in words.
        last_ns: when the last message arrived; 0 if none did.
        stopped_ns: when the senders stopped.
        cpu_s: the CPU time that this process used since the start.
        busy: the share of a core that it used while it sent.
    """

    sent: int = 0
    acknowledged: int = 0
    unacknowledged: int = 0
    delivered: int = 0
    received_bytes: int = 0
    last_ns: int = 0
    stopped_ns: int = 0
    cpu_s: float = 0.0
    busy: float = 0.0
    latency: Histogram = field(default_factory=Histogram)
    faults: Faults = field(default_factory=Faults)
    servers: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    disconnected: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)


# --- to a worker


@dataclass(frozen=True, slots=True)
class Start:
    """Send from ``start_ns`` to ``stop_ns``, by ``time.monotonic_ns()``."""

    start_ns: int
    stop_ns: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop sending."""


@dataclass(frozen=True, slots=True)
class Await:
    """Wait until the clients have received what is due, then report what they found."""

    due: Mapping[int, Due]


class Link:
    """One end of a pipe to another process, in an event loop.

    Messages are small and their reader is never busy for long. So writing may block, as may reading the rest of one.
    """

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._heard: asyncio.Queue[Any] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection.fileno(), self._read)

    def tell(self, message: object) -> None:
        """Send a message; it is dropped if the other process has ended."""
        with suppress(OSError):  # the reader notices it
            self._connection.send(message)

    async def hear(self) -> Any:
        """Wait for the next message.

        Returns:
            ``None`` if the other process has ended.
        """
        return await self._heard.get()

    def close(self) -> None:
        """Close the pipe."""
        self._loop.remove_reader(self._connection.fileno())
        self._connection.close()

    def _read(self) -> None:
        try:
            message = self._connection.recv()
        except (EOFError, OSError):
            self._loop.remove_reader(self._connection.fileno())
            message = None
        self._heard.put_nowait(message)
