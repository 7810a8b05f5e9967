"""The bounds that the core enforces."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_ROUND_BYTES = 256 * 1024 * 1024
_LEAST_BYTES = 32 * 1024


class SlowPolicy(Enum):
    """What happens to a client whose queue is full."""

    DISCONNECT = "disconnect"
    DROP = "drop"
    CATCH_UP = "catch-up"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of clients, messages and queues.

    Attributes:
        max_clients: most clients connected at once.
        max_clients_per_peer: most clients connected at once from one address; 0 for no bound.
        spares_loopback: whether addresses of this machine are exempt from ``max_clients_per_peer``.
        max_message_bytes: largest text and data of one message, together.
        queue_messages: most messages queued for one client.
        queue_bytes: most bytes on the wire queued for one client; at least enough for one message.
        slow_policy: what happens to a client whose queue is full.
        rate: most messages a second from one client; None for no bound.
        burst: most messages at once from one client, if ``rate`` is given.
        max_name: longest name, in characters.
        max_room: longest name of a room, in characters.
        max_id_bytes: longest id of a request or a client.
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
        """Most messages in one flush: far fewer than a queue holds, so that a client that keeps up never fills it."""
        return max(1, min(4096, self.queue_messages // 4))

    def batch_bytes(self, members: int) -> int:
        """As ``batch_messages``, in bytes on the wire; a single larger message is flushed alone.

        The more members there are, the less is pushed to each: that keeps rounds of writes short, and bounds what gRPC
        buffers.
        """
        return min(self.queue_bytes // 4, max(_ROUND_BYTES // members, _LEAST_BYTES))
