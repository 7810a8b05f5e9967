"""The bounds that the core keeps."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_ROUND_BYTES = 256 * 1024 * 1024
_LEAST_BYTES = 32 * 1024


class SlowPolicy(Enum):
    """What becomes of a client whose queue is full."""

    DISCONNECT = "disconnect"
    DROP = "drop"
    CATCH_UP = "catch-up"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of clients, messages and queues.

    Attributes:
        max_clients: connected at once.
        max_clients_per_peer: connected at once from one address; 0: no bound.
        spares_loopback: whether addresses of this machine have no such bound.
        max_message_bytes: text and data of one message.
        queue_messages: queued for one client.
        queue_bytes: queued for one client, in bytes on the wire; room for one message at least.
        slow_policy: what becomes of a client whose queue is full.
        rate: messages a second for one client; None: no bound.
        burst: messages at once for one client, where ``rate`` is given.
        max_name: characters.
        max_room: characters.
        max_id_bytes: of a request's and of a client's id.
    """

    max_clients: int = 20_000
    max_clients_per_peer: int = 1000
    spares_loopback: bool = True
    max_message_bytes: int = 65_536
    queue_messages: int = 20_000
    queue_bytes: int = 4 * 1024 * 1024
    slow_policy: SlowPolicy = SlowPolicy.DISCONNECT
    rate: float | None = None
    burst: int = 1
    max_name: int = 64
    max_room: int = 128
    max_id_bytes: int = 128

    @property
    def batch_messages(self) -> int:
        """What is pushed at once: far less than a queue holds, so that who keeps up is never over its bound."""
        return max(1, min(4096, self.queue_messages // 4))

    def batch_bytes(self, members: int) -> int:
        """As ``batch_messages``, in bytes on the wire; a single larger message is pushed alone.

        For many members less is pushed to each at once: that keeps a round of writes short, and what gRPC holds small.
        """
        return min(self.queue_bytes // 4, max(_ROUND_BYTES // members, _LEAST_BYTES))
