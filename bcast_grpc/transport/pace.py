"""How much one client takes at once."""

from __future__ import annotations

_LEAST_BYTES = 16 * 1024
_FIRST_BYTES = 64 * 1024  # to cut what all share costs time, so it is not done for many at once
_MOST_BYTES = 1024 * 1024
_SECONDS = 2.0
_GROWTH = 1.5


class Pace:
    """Learns from the writes to a client how large its frames should be: what it takes within two seconds.

    It begins with as much as one message may be, and grows with every write that fits. It shrinks only where the loop
    had little to do meanwhile: a loop that is busy takes its own time for the client's, and smaller frames would keep
    it busier still.

    Attributes:
        bytes: so large a frame should be.
    """

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = _FIRST_BYTES

    def wrote(self, size: int, seconds: float, busy_s: float) -> None:
        """Take account of a write. A small one shows nothing.

        Args:
            size: in bytes.
            seconds: how long it took until there was room for the next one.
            busy_s: how much of that the loop's thread was at work.
        """
        if size < _LEAST_BYTES:
            return
        takes = size * _SECONDS / max(seconds, 1e-3)
        if takes < self.bytes and 2 * busy_s > seconds:
            return
        self.bytes = int(max(_LEAST_BYTES, min(takes, self.bytes * _GROWTH, _MOST_BYTES)))
