"""What the whole process may hold in memory: histories, ids, queues, and what waits for a store."""

from __future__ import annotations

from collections import deque

UNBOUNDED = 1 << 62

_NEAR = 0.9
_IDS_SHARE = 0.25
_IDS_NEAR = 0.98
_SLOT_NS = 100_000_000
_SOON_NS = 1_000_000_000


class Budget:
    """Counts the bytes that are held for all rooms together. It changes in the loop only.

    Attributes:
        max_bytes: the bound (``max-memory``).
        histories: what messages take that are kept.
        ids: what remembered ids take.
        rooms: what the orders of rooms take beside their messages and ids.
        waiting: what waits for a store.
        queues: what is queued for clients.
        max_ids: the bound of ``ids``.
        next_slot_ns: when another note is to be made of the time, for ids that are remembered then.
    """

    def __init__(self, max_bytes: int = UNBOUNDED) -> None:
        self.max_bytes = max_bytes
        self.histories = 0
        self.ids = 0
        self.rooms = 0
        self.waiting = 0
        self.queues = 0
        self.max_ids = int(max_bytes * _IDS_SHARE)
        self.next_slot_ns = 0
        self._slots: deque[int] = deque()

    @property
    def used(self) -> int:
        """All of it."""
        return self.histories + self.ids + self.rooms + self.waiting + self.queues

    @property
    def excess(self) -> int:
        """How much more than nine tenths is used; histories are dropped then."""
        return self.used - int(self.max_bytes * _NEAR)

    @property
    def full(self) -> bool:
        """Whether nobody more should be let in, as dropping histories would not be enough."""
        return self.excess >= self.histories

    def __str__(self) -> str:
        parts = {
            "histories": self.histories,
            "ids": self.ids,
            "queues": self.queues,
            "the store": self.waiting,
            "rooms": self.rooms,
        }
        words = ", ".join(f"{size / 2**20:.1f} MiB for {what}" for what, size in parts.items() if size)
        return f"{words or 'nothing'} of max-memory, which is {self.max_bytes / 2**20:.1f} MiB"

    # --- ids: a quarter of it

    @property
    def ids_full(self) -> bool:
        """Whether no more ids can be remembered."""
        return self.ids >= self.max_ids

    @property
    def ids_near_full(self) -> bool:
        """Whether those who send ids should be held up."""
        return self.ids >= self.max_ids * _IDS_NEAR

    def begin_slot(self, now_ns: int) -> None:
        """Take note that ids are remembered from ``now_ns`` on, a steady time."""
        self._slots.append(now_ns)
        self.next_slot_ns = now_ns + _SLOT_NS

    def end_slots(self, oldest_ns: int) -> None:
        """Take note that ids from before that are forgotten."""
        while self._slots and self._slots[0] <= oldest_ns:
            self._slots.popleft()

    def ids_expire_in_ns(self, now_ns: int, window_ns: int) -> int:
        """Return how long it takes until the oldest ids are forgotten."""
        oldest_ns = self._slots[0] if self._slots else now_ns
        return max(_SOON_NS, oldest_ns + window_ns - now_ns)
