"""Who is where: clients spread over processes and rooms, and how much a sender may have in flight."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bcast_grpc.bench.arguments import Options
from bcast_grpc.bench.payload import request_bytes
from bcast_grpc.wire.protobuf import MAX_REQUEST_BYTES

_IN_FLIGHT_MESSAGES = 8192
_IN_FLIGHT_BYTES = 2 * 1024 * 1024
"""Half of what a server queues for one client, unless told otherwise: who reads at all is never too slow."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run of the load.

    Attributes:
        run: a number by which this run's messages and rooms are told from all others.
    """

    options: Options
    run: int

    def room(self, client: int) -> str:
        """The name of the room that a client is in."""
        return f"bench-{self.run:08x}-{client % self.options.rooms}"

    def clients(self, process: int) -> range:
        """The numbers of the clients that are in a process."""
        return range(process, self.options.clients, self.options.processes)

    def sends(self, client: int) -> bool:
        """Whether a client is a sender."""
        return client < self.options.senders

    def senders_near(self, client: int) -> range:
        """The senders in a client's room, itself included if it is one."""
        return range(client % self.options.rooms, self.options.senders, self.options.rooms)

    @property
    def batch(self) -> int:
        """How many messages a frame holds at most, given what a frame of requests and what the window may hold."""
        request = request_bytes(self.options.size)
        most = min(MAX_REQUEST_BYTES, _IN_FLIGHT_BYTES // max(1, self.options.senders)) // request
        return max(1, min(self.options.batch, most))

    @property
    def window(self) -> int:
        """How many frames of a sender may be unacknowledged: enough to keep a server busy, not more."""
        messages = max(1, self.options.senders) * self.batch
        frames = min(_IN_FLIGHT_MESSAGES // messages, _IN_FLIGHT_BYTES // (messages * self.options.size))
        return max(1, frames)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a sender sends: at fixed times, whatever the server does; or, without an interval, whenever it may.

    Attributes:
        first_ns: when its first message is to be sent.
        interval_ns: how long after that the next one, and so on; 0 for as soon as it may be.
    """

    first_ns: int
    interval_ns: float

    @classmethod
    def of(cls, options: Options, sender: int, start_ns: int) -> Schedule:
        """The schedule of one of the senders, which take turns."""
        apart_ns = 1e9 / options.rate if options.rate else 0.0
        return cls(start_ns + round(sender * apart_ns), apart_ns * options.senders)

    def time_ns(self, number: int) -> int:
        """When the message with this number is to be sent."""
        return self.first_ns + round(number * self.interval_ns)

    def due(self, number: int, at_most: int, now_ns: int) -> list[int]:
        """The times of the messages from ``number`` on that are to be sent by now."""
        if not self.interval_ns:
            return [now_ns] * at_most
        return list(self._times(number, at_most, now_ns))

    def _times(self, number: int, at_most: int, now_ns: int) -> Iterator[int]:
        for each in range(number, number + at_most):
            if (time_ns := self.time_ns(each)) > now_ns:
                return
            yield time_ns
