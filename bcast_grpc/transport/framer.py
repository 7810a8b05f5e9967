"""Frames that many clients get are made once."""

from __future__ import annotations

from collections.abc import Callable

_KEPT = 16


class Framer:
    """Makes the frame of a message, once for all clients that get the same message.

    Args:
        frame: returns the frame of a message.
    """

    def __init__(self, frame: Callable[[bytes], bytes]) -> None:
        self._frame = frame
        self._known: dict[int, tuple[bytes, bytes]] = {}

    def frame(self, message: bytes) -> bytes:
        """Return the frame of a message. The last few are kept, with their messages."""
        known = self._known.get(id(message))
        if known is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            # The message is kept, too, so that no other object gets its id().
            known = self._known[id(message)] = message, self._frame(message)
        return known[1]
