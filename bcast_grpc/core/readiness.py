"""Whether the server can do its work, for health checks."""

from __future__ import annotations

from collections.abc import Callable


class Readiness:
    """Says why the server is not ready, and tells those who follow it when that changes.

    Attributes:
        why_not: why the server is not ready, for people; empty if it is.
    """

    def __init__(self) -> None:
        self.why_not = ""
        self._followers: list[Callable[[], None]] = []

    def follow(self, callback: Callable[[], None]) -> None:
        """Call back, in the loop, whenever ``why_not`` has changed."""
        self._followers.append(callback)

    def report(self, why_not: str) -> None:
        """Say why the server is not ready, or with an empty text that it is."""
        if why_not != self.why_not:
            self.why_not = why_not
            for callback in self._followers:
                callback()
