"""Rights by room: patterns of names, and which of them decides."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import fields

from bcast_grpc.core.identity import Rights

RIGHTS = tuple(field.name for field in fields(Rights))
"""The words for rights, as in tokens and in the file."""


class Patterns:
    """Which rights are granted in which rooms.

    A pattern is a room's name, or a prefix followed by ``*``. The longest pattern that matches decides alone; a name
    beats the same name followed by ``*``.

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
        """Return the rights in a room; None if no pattern matches."""
        if room in self._names:
            return self._names[room]
        return next((rights for beginning, rights in self._beginnings if room.startswith(beginning)), None)


def rights_of(words: Iterable[str]) -> Rights:
    """Return the rights with these names; unknown words are ignored."""
    given = set(words)
    return Rights(**{right: right in given for right in RIGHTS})
