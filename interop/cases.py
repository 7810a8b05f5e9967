"""What is said and what is heard of it, as ``cases.toml`` has it."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .program import Json

_REPEATED = re.compile(r"«(.)\*(\d+)»")


@dataclass(frozen=True)
class Case:
    """One of them; see the head of ``cases.toml``."""

    name: str
    requests: list[Json]
    heard: list[Json] = field(default_factory=list)
    answers: list[Json] = field(default_factory=list)
    times: int = 1

    def expand(self, template: list[Json], name: str, run: str) -> list[Json]:
        """Return requests or events as they are where ``name`` speaks, in a run."""
        return [_filled(entry, name, f"{n}", run) for n in range(1, self.times + 1) for entry in template]


def load() -> list[Case]:
    """Return all of them."""
    return [Case(**case) for case in tomllib.loads((Path(__file__).parent / "cases.toml").read_text())["case"]]


def fits(event: Any, expected: Any) -> bool:
    """Whether an event is as expected, in the fields for which something is."""
    if isinstance(expected, dict):
        return isinstance(event, dict) and all(fits(event.get(key), value) for key, value in expected.items())
    return bool(event == expected)


def _filled(value: Any, name: str, n: str, run: str) -> Any:
    if isinstance(value, dict):
        filled = {key: _filled(entry, name, n, run) for key, entry in value.items()}
        return filled | {"id": f"{run} {filled['id']}"} if "id" in filled else filled
    if isinstance(value, list):
        return [_filled(entry, name, n, run) for entry in value]
    if isinstance(value, str):
        text = value.replace("«name»", name).replace("«n»", n)
        return _REPEATED.sub(lambda match: match[1] * int(match[2]), text)
    return value
