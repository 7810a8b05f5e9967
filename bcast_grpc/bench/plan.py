"""How clients are spread over processes and rooms, and how much a sender may have in flight."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bcast_grpc.bench.arguments import Options
from bcast_grpc.bench.payload import request_bytes
from bcast_grpc.wire.protobuf import MAX_REQUEST_BYTES

_IN_FLIGHT_MESSAGES = 8192
_IN_FLIGHT_BYTES = 2 * 1024 * 1024
"""Half of what a server queues for one client by default, so a client that reads at all is never too slow."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of one run.

    Attributes:
        run: a number that distinguishes the messages and rooms of this run from all others.
    """

    options: Options
    run: int

    def room(self, client: int) -> str:
        """The name of the room that a client is in."""
        return f"bench-{self.run:08x}-{client % self.options.rooms}"

    def clients(self, process: int) -> range:
        """The numbers of a process's clients."""
        return range(process, self.options.clients, self.options.processes)

    def sends(self, client: int) -> bool:
        """Whether a client is a sender."""
        return client < self.options.senders

    def senders_near(self, client: int) -> range:
        """The senders in a client's room, itself included if it is one."""
        return range(client % self.options.rooms, self.options.senders, self.options.rooms)

    @property
    def batch(self) -> int:
        """How many messages a frame has at most, within the bounds of a frame and of the window."""
        request = request_bytes(self.options.size)
        most = min(MAX_REQUEST_BYTES, _IN_FLIGHT_BYTES // max(1, self.options.senders)) // request
        return max(1, min(self.options.batch, most))

    @property
    def window(self) -> int:
        """How many frames of a sender may be unacknowledged: enough to keep the server busy, and no more."""
        messages = max(1, self.options.senders) * self.batch
        frames = min(_IN_FLIGHT_MESSAGES // messages, _IN_FLIGHT_BYTES // (messages * self.options.size))
        return max(1, frames)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a sender sends: at fixed times, whatever the server does, or as soon as it may.

    Attributes:
        first_ns: when its first message is due.
        interval_ns: the time between two messages; 0 for as soon as it may.
    """

    first_ns: int
    interval_ns: float

    @classmethod
    def of(cls, options: Options, sender: int, start_ns: int) -> Schedule:
        """The schedule of one of the senders, which take turns."""
        apart_ns = 1e9 / options.rate if options.rate else 0.0
        return cls(start_ns + round(sender * apart_ns), apart_ns * options.senders)

    def time_ns(self, number: int) -> int:
        """When the message with this number is due."""
        return self.first_ns + round(number * self.interval_ns)

    def due(self, number: int, at_most: int, now_ns: int) -> list[int]:
        """When the messages from ``number`` on were due, of those that are due by now."""
        if not self.interval_ns:
            return [now_ns] * at_most
        return list(self._times(number, at_most, now_ns))

    def _times(self, number: int, at_most: int, now_ns: int) -> Iterator[int]:
        for each in range(number, number + at_most):
            if (time_ns := self.time_ns(each)) > now_ns:
                return
            yield time_ns
