"""The states of a stream: what the documents say of them is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from bcast_grpc.http2.states import TABLE, Action, Kind, State

DESIGN = Path(__file__).parents[2] / "docs" / "design.md"
COLUMNS = (Kind.HEADERS, Kind.DATA, Kind.RST_STREAM, Kind.WINDOW_UPDATE)


def test_the_table_in_the_design_is_the_table_of_the_code() -> None:
    """State by state."""
    text = DESIGN.read_text()
    header = "| state | " + " | ".join(kind.name for kind in COLUMNS) + " |"
    rows = re.findall(r"^\| (.+) \|$", text[text.index(header) + len(header) :].split("\n\n")[0], re.MULTILINE)[1:]
    written = {}
    for row in rows:
        state, *actions = row.split(" | ")
        for kind, action in zip(COLUMNS, actions, strict=True):
            written[State[name(state)], kind] = Action[name(action)]
    assert written == TABLE


def name(words: str) -> str:
    """What the code calls it."""
    return words.upper().replace(" ", "_")
