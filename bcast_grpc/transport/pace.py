"""How much one client takes at once."""

from __future__ import annotations

LEAST_BYTES = 16 * 1024
"""A smaller write shows nothing."""

_FIRST_BYTES = 64 * 1024  # to cut what all share costs time, so it is not done for many at once
_MOST_BYTES = 1024 * 1024
_SECONDS = 2.0
_GROWTH = 1.5
_HALF_LIFE_S = 2.0


class Pace:
    """Learns from the writes to a client how large its frames should be: what it takes within two seconds.

    It looks at what was written over some seconds. A single write that took long shows little: where many clients wait
    for their turn, a smaller frame waits as long, and would only be one more to wait for. Nor does the client answer
    for the time in which the loop itself was at work.

    Attributes:
        bytes: so large a frame should be. It begins with as much as one message may be, and grows with every write.
    """

    __slots__ = ("_size", "_waited_s", "bytes")

    def __init__(self) -> None:
        self.bytes = _FIRST_BYTES
        self._size = 0.0
        self._waited_s = 0.0

    def wrote(self, size: int, seconds: float, busy_s: float) -> None:
        """Take account of a write of at least ``LEAST_BYTES``.

        Args:
            size: in bytes.
            seconds: how long it took until there was room for the next one.
            busy_s: how much of that the loop's thread was at work.
        """
        waited_s = max(0.0, seconds - busy_s)
        kept = 0.5 ** (waited_s / _HALF_LIFE_S)
        self._size = self._size * kept + size
        self._waited_s = self._waited_s * kept + waited_s
        takes = self._size * _SECONDS / max(self._waited_s, 1e-3)
        self.bytes = int(max(LEAST_BYTES, min(takes, self.bytes * _GROWTH, _MOST_BYTES)))
