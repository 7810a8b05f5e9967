"""The file of rights: who may do what in which rooms."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from bcast_grpc.auth.faults import Unusable, read_file
from bcast_grpc.auth.patterns import RIGHTS, Patterns, rights_of
from bcast_grpc.core.identity import NO_RIGHTS, Rights

_TABLES = ("anonymous", "subjects", "everyone")


class RightsFile(NamedTuple):
    """The content of a file of rights.

    Attributes:
        anonymous: the rights of clients without a token and without a certificate.
        subjects: the rights of each subject that has its own table.
        everyone: the rights of any known subject, for rooms that its own table does not match.
    """

    anonymous: Patterns
    subjects: Mapping[str, Patterns]
    everyone: Patterns

    def of(self, subject: str, room: str) -> Rights:
        """Return what a subject may do in a room; the empty subject is anonymous."""
        if not subject:
            return self.anonymous.find(room) or NO_RIGHTS
        own = self.subjects.get(subject)
        found = own.find(room) if own else None
        return found or self.everyone.find(room) or NO_RIGHTS


def read_rights(path: Path) -> RightsFile:
    """Read a file of rights.

    Raises:
        Unusable: it cannot be read, or is not valid.
    """
    try:
        content = tomllib.loads(read_file(path).decode())
    except ValueError as error:
        raise Unusable(path, f"is not TOML: {error}") from None
    except RecursionError:
        raise Unusable(path, "is not a file of rights: its values are nested too deeply") from None
    for table in content:
        if table not in _TABLES:
            raise Unusable(path, f"[{table}] is not a known table{_nearest(table, _TABLES)}; use {', '.join(_TABLES)}")
    subjects = _table(path, "subjects", content)
    return RightsFile(
        _patterns(path, "anonymous", _table(path, "anonymous", content)),
        {
            subject: _patterns(path, f'subjects."{subject}"', _table(path, subject, subjects, "subjects."))
            for subject in subjects
        },
        _patterns(path, "everyone", _table(path, "everyone", content)),
    )


def _table(path: Path, name: str, content: Mapping[str, Any], where: str = "") -> Mapping[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, dict):
        raise Unusable(path, f'{where}{name} must be a table, such as [{where}{name}] and below it "lobby" = ["join"]')
    return table


def _patterns(path: Path, table: str, content: Mapping[str, Any]) -> Patterns:
    granted = {}
    for pattern, words in content.items():
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise Unusable(path, f'[{table}] "{pattern}" must be a list of rights, such as ["join", "send"]')
        for word in words:
            if word not in RIGHTS:
                hint = _nearest(word, RIGHTS)
                raise Unusable(path, f'[{table}] "{pattern}": {word!r} is not a right{hint}; use {", ".join(RIGHTS)}')
        granted[pattern] = rights_of(words)
    return Patterns(granted)


def _nearest(word: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(word, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""
