"""Rights by room: patterns, and which of them decides."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import fields

from bcast_grpc.core.identity import Rights

RIGHTS = tuple(field.name for field in fields(Rights))
"""The words for rights, as in tokens and in the file."""


class Patterns:
    """What is granted in which rooms.

    A pattern is a room's name, or the beginning of one with a ``*`` behind it. The longest that fits decides alone; a
    name is longer than the same with a ``*``.

    Args:
        granted: rights by pattern.
    """

    __slots__ = ("_beginnings", "_names")

    def __init__(self, granted: Mapping[str, Rights]) -> None:
        normal = {unicodedata.normalize("NFC", pattern): rights for pattern, rights in granted.items()}
        self._names = {pattern: rights for pattern, rights in normal.items() if not pattern.endswith("*")}
        beginnings = [(pattern[:-1], rights) for pattern, rights in normal.items() if pattern.endswith("*")]
        self._beginnings = sorted(beginnings, key=lambda one: len(one[0]), reverse=True)

    def find(self, room: str) -> Rights | None:
        """Return what is granted in a room; None where no pattern fits."""
        if room in self._names:
            return self._names[room]
        return next((rights for beginning, rights in self._beginnings if room.startswith(beginning)), None)


def rights_of(words: Iterable[str]) -> Rights:
    """Return the rights that these words are for; other words are ignored."""
    given = set(words)
    return Rights(**{right: right in given for right in RIGHTS})
