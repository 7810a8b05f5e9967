"""The memory budget of the process: histories, ids, queues, and what waits for a store."""

from __future__ import annotations

from collections import deque

UNBOUNDED = 1 << 62

_NEAR = 0.9
_SLACK = 0.05
_IDS_SHARE = 0.25
_IDS_NEAR = 0.98
_SLOT_NS = 100_000_000
_SOON_NS = 1_000_000_000


class Budget:
    """Counts the bytes that are held for all rooms together. Used from the loop only.

    Attributes:
        max_bytes: the bound (``max-memory``).
        bound: the same, or less if the process has no memory for so much: see ``fit``.
        histories: bytes of the messages in histories.
        ids: bytes of remembered ids.
        rooms: bytes of orders, beside their messages and ids.
        waiting: bytes that wait for a store.
        queues: bytes that are queued for clients.
        unfinished: bytes of messages that have not come to their end, or are not carried out yet.
        max_ids: the bound of ``ids``.
        next_slot_ns: when the next time slot of remembered ids begins. The slots tell when the oldest ids expire.
    """

    def __init__(self, max_bytes: int = UNBOUNDED) -> None:
        self.max_bytes = self.bound = max_bytes
        self.histories = 0
        self.ids = 0
        self.rooms = 0
        self.waiting = 0
        self.queues = 0
        self.unfinished = 0
        self._process: object = None
        self.max_ids = int(max_bytes * _IDS_SHARE)
        self.next_slot_ns = 0
        self._slots: deque[int] = deque()

    @property
    def used(self) -> int:
        """The sum of all parts."""
        return self.histories + self.ids + self.rooms + self.waiting + self.queues + self.unfinished

    def fit(self, left: int, process: object) -> None:
        """Bound what is used so that the process takes no more memory than there is.

        What is counted here is not all that it takes: there are connections, the interpreter, and the gaps between the
        pieces that are in use. How much that is, only a measurement can tell.

        Args:
            left: how much more the process may take, as just measured; negative if it takes too much.
            process: says how much it takes.
        """
        self.bound = max(0, min(self.max_bytes, self.used + left))
        self._process = process

    @property
    def squeezed(self) -> bool:
        """Whether the process has too little memory for ``max_bytes``."""
        return self.bound < self.max_bytes

    @property
    def excess(self) -> int:
        """How many bytes more than nine tenths of the bound are used; if any, histories are dropped."""
        return self.used - int(self.bound * _NEAR)

    @property
    def goal(self) -> int:
        """How much to leave in use where something is dropped: a little less, or the next byte would be too many."""
        return int(self.bound * (_NEAR - _SLACK))

    @property
    def least_left(self) -> int:
        """How much more the process must be able to take so that nothing is dropped."""
        return int(self.used * (1 / _NEAR - 1))

    @property
    def full(self) -> bool:
        """Whether new clients should be refused, because dropping all histories would not be enough."""
        return self.excess >= self.histories

    @property
    def eased(self) -> bool:
        """Whether it is not full, and will not be with the next few bytes."""
        return self.used - self.histories < self.goal

    def __str__(self) -> str:
        parts = {
            "histories": self.histories,
            "ids": self.ids,
            "queues": self.queues,
            "the store": self.waiting,
            "unfinished messages": self.unfinished,
            "rooms": self.rooms,
        }
        words = ", ".join(f"{size / 2**20:.1f} MiB for {what}" for what, size in parts.items() if size)
        text = f"{words or 'nothing'} of max-memory, which is {self.max_bytes / 2**20:.1f} MiB"
        return f"{text}; {self._process}" if self.squeezed else text

    # --- ids: a quarter of the budget

    @property
    def ids_full(self) -> bool:
        """Whether no more ids may be remembered."""
        return self.ids >= self.max_ids

    @property
    def ids_near_full(self) -> bool:
        """Whether clients that send ids should be delayed."""
        return self.ids >= self.max_ids * _IDS_NEAR

    def begin_slot(self, now_ns: int) -> None:
        """Begin a slot at ``now_ns``, on the steady clock, because an id is remembered then."""
        self._slots.append(now_ns)
        self.next_slot_ns = now_ns + _SLOT_NS

    def end_slots(self, oldest_ns: int) -> None:
        """End the slots that began at ``oldest_ns`` or before, because their ids have expired."""
        while self._slots and self._slots[0] <= oldest_ns:
            self._slots.popleft()

    def ids_expire_in_ns(self, now_ns: int, window_ns: int) -> int:
        """Return how long it takes until the oldest ids expire."""
        oldest_ns = self._slots[0] if self._slots else now_ns
        return max(_SOON_NS, oldest_ns + window_ns - now_ns)
