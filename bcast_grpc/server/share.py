"""Which part of a server a process is, where several processes are one server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from socket import socket

from bcast_grpc.transport.metrics import Siblings


@dataclass(frozen=True, slots=True)
class Worker:
    """One of the processes that serve the clients of a server.

    Attributes:
        number: from 1.
        of: how many there are.
        sockets: bound to the server's ports, by the name of the port's setting; none if it binds them itself.
        siblings: the others of these processes, if there are any.
    """

    number: int = 1
    of: int = 1
    sockets: Mapping[str, Sequence[socket]] = field(default_factory=dict)
    siblings: Siblings | None = None

    def share(self, total: int) -> int:
        """Return this worker's share of what all have together; 1 at least."""
        return max(1, (total + self.of - self.number) // self.of)


ALONE = Worker()
"""A server of one process."""
