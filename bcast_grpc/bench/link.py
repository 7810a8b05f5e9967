"""What the processes tell each other, and how."""

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
"""How many clients with faults are told of by number."""

# --- from a worker


@dataclass(frozen=True, slots=True)
class Joined:
    """All my clients are in."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A client of mine was not let in."""

    error: BcastError


@dataclass(frozen=True, slots=True)
class Tick:
    """How far my clients are."""

    joined: int
    sent: int = 0
    delivered: int = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """My senders have stopped, and heard what became of their messages: this is due to the others."""

    due: Mapping[int, Due]


@dataclass(slots=True)
class Result:
    """What my clients found; or all workers' clients, put together.

    Attributes:
        unacknowledged: messages that the server has not said anything about.
        refused: messages that the server refused, by its code.
        disconnected: clients whose call the server ended, by its code.
        reasons: what the server said, by its code.
        examples: faults in words; not all of them.
        last_ns: when the last message arrived; 0 if none did.
        stopped_ns: when the senders stopped.
        cpu_s: what this process used from the start on.
        busy: the part of a core that it used while there was something to send.
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
    refused: Counter[str] = field(default_factory=Counter)
    disconnected: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)


# --- to a worker


@dataclass(frozen=True, slots=True)
class Start:
    """Send from now on, until then; times are of ``time.monotonic_ns()``."""

    start_ns: int
    stop_ns: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Send no more."""


@dataclass(frozen=True, slots=True)
class Await:
    """This is due to your clients; wait for it, then tell what they found."""

    due: Mapping[int, Due]


class Link:
    """One end of a pipe to another process, in an event loop.

    What is told is small, and its reader does nothing else for long: so writing may block, and reading a begun message.
    """

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._heard: asyncio.Queue[Any] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection.fileno(), self._read)

    def tell(self, message: object) -> None:
        """Send; in vain if the other process has ended."""
        with suppress(OSError):  # whoever listens hears of it
            self._connection.send(message)

    async def hear(self) -> Any:
        """Wait for the next message.

        Returns:
            None if the other process has ended.
        """
        return await self._heard.get()

    def close(self) -> None:
        """Let go of the pipe."""
        self._loop.remove_reader(self._connection.fileno())
        self._connection.close()

    def _read(self) -> None:
        try:
            message = self._connection.recv()
        except (EOFError, OSError):
            self._loop.remove_reader(self._connection.fileno())
            message = None
        self._heard.put_nowait(message)
