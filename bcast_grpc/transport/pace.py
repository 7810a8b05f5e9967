"""How large the frames for one client should be."""

from __future__ import annotations

LEAST_BYTES = 16 * 1024
"""A smaller write does not show how fast a client is."""

_FIRST_BYTES = 64 * 1024  # cutting a shared frame costs time, so this is large enough for most frames
_MOST_BYTES = 1024 * 1024
_SECONDS = 2.0
_GROWTH = 1.5
_HALF_LIFE_S = 2.0


class Pace:
    """Learns from the writes to a client how large its frames should be: what it receives within two seconds.

    The estimate covers the writes of some seconds. A single slow write shows little: if many clients wait for their
    turn, a smaller frame waits just as long. Time in which the loop itself was busy does not count against the client.

    Attributes:
        bytes: how large a frame should be. It begins with the size of a large message, and may grow with every write.
    """

    __slots__ = ("_size", "_waited_s", "bytes")

    def __init__(self) -> None:
        self.bytes = _FIRST_BYTES
        self._size = 0.0
        self._waited_s = 0.0

    def wrote(self, size: int, seconds: float, busy_s: float) -> None:
        """Record a write of at least ``LEAST_BYTES``.

        Args:
            size: its size in bytes.
            seconds: how long it took until there was room for the next write.
            busy_s: the part of that time in which the loop's thread was busy.
        """
        waited_s = max(0.0, seconds - busy_s)
        kept = 0.5 ** (waited_s / _HALF_LIFE_S)
        self._size = self._size * kept + size
        self._waited_s = self._waited_s * kept + waited_s
        takes = self._size * _SECONDS / max(self._waited_s, 1e-3)
        self.bytes = int(max(LEAST_BYTES, min(takes, self.bytes * _GROWTH, _MOST_BYTES)))
