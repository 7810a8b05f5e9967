"""Versions of NATS."""

from __future__ import annotations

OLDEST = (2, 12, 4)
"""The oldest version that is known to work. Older ones accept the stream's configuration, and do not follow it."""


def version_of(text: str) -> tuple[int, ...]:
    """Return the numbers of a version such as ``2.12.4-preview.1``; none if there are none."""
    parts = text.partition("-")[0].split(".")
    return tuple(int(part) for part in parts if part.isdecimal())
