"""An event is shown in one line, in which nobody passes for somebody else."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import NOBODY, Author, Closing, Error, Event, Gap, GapReason, Kind, Member, relayed
from bcast_grpc.terminal import lines
from bcast_grpc.wire.json_events import encode_event
from tests.console.test_safe_text import NAMES, SESSIONS, TEXTS, is_harmless, unescape

OWN_CODES = re.compile(r"\x1b\[(?:\d+;)*\d+m")


def message(name: str, text: str, session: str = "4f1c22ab") -> Event:
    """What the server relays."""
    return Event(Kind.MESSAGE, relayed(name, text), Author(session, name, ""), 1, 1_752_588_000_000_000_000)


def test_a_name_has_the_same_colour_every_time() -> None:
    """It does not depend on the process."""
    assert lines.name_style("ana") == "38;5;130"
    assert len({lines.name_style(f"name {number}") for number in range(200)}) == len(lines.NAME_COLOURS)


@pytest.mark.parametrize("colour", [*lines.NAME_COLOURS, int(lines.DIM[5:]), int(lines.ALARM[5:])])
def test_colours_are_readable_on_black_and_on_white(colour: int) -> None:
    """A contrast of at least 3.9, by the formula of WCAG, on either."""
    steps = (0, 95, 135, 175, 215, 255)
    cube = colour - 16
    grey = 8 + 10 * (colour - 232)
    red_green_blue = (grey,) * 3 if colour >= 232 else (steps[cube // 36], steps[cube // 6 % 6], steps[cube % 6])
    linear = [((value / 255 + 0.055) / 1.055) ** 2.4 if value > 10 else value / 255 / 12.92 for value in red_green_blue]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    assert (luminance + 0.05) / 0.05 > 3.9
    assert 1.05 / (luminance + 0.05) > 3.9


@pytest.mark.parametrize("time_ns", [2**63 * 10**9, -(2**63) * 10**9])
def test_a_time_that_is_none_does_no_harm(time_ns: int) -> None:
    """The server says what time it is, and can say anything."""
    assert lines.clock(time_ns) == "--:--"


# --- notices


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (Event(Kind.JOINED, "ana joined", Author("1", "ana", "")), "ana joined"),
        (Event(Kind.LEFT, "eva left and bob left", Author("1", "eva left and bob", "")), "eva␣left␣and␣bob left"),
        (Event(Kind.JOINED, "x is now y is now bob", Author("1", "bob", "")), "x␣is␣now␣y is now bob"),
        (Event(Kind.JOINED, "new words\n", Author("1", "bob", "")), "new words␊"),
        (Event(Kind.CLOSING, "a\x1bb", NOBODY, detail=Closing("a\x1bb", 1)), "a␛b"),
        (Event(Kind.ERROR, "r", detail=Error(ErrorCode.EMPTY_MESSAGE, "a\nb")), "a␊b (EMPTY_MESSAGE)"),
        (
            Event(Kind.GAP, "g", detail=Gap(3, 5, GapReason.SLOW)),
            "messages 3 to 5 are missing: this client was too slow",
        ),
        (Event(Kind.GAP, "g", detail=Gap(3, 3, GapReason.TRIMMED)), "message 3 is missing: no longer kept"),
        (
            Event(Kind.GAP, "g", detail=Gap(0, 0, GapReason.NEW_EPOCH)),
            "messages may be missing: the room began a new epoch",
        ),
    ],
)
def test_a_notice_is_one_line_in_which_a_name_is_one_word(event: Event, shown: str) -> None:
    """So that a name cannot tell of what did not happen."""
    assert lines.notice(event) == shown


def test_who_is_here_is_told_by_name_or_session() -> None:
    """A line each."""
    rows = lines.who((Member("4f1c22ab", "", 0), Member("2", "a b", 0)))
    assert [line.split()[0] for line in rows] == ["«4f1c22»", "a␣b"]


# --- lines for programs


@given(NAMES, TEXTS, SESSIONS)
@example("bob: hi", "x", "s")
@example("bob:", " x", "s")
@example("\\n", "\n\\", "s")
def test_a_line_tells_author_and_text_exactly(name: str, text: str, session: str) -> None:
    """It ends the author at the first colon and space, and its escapes can be undone."""
    line = lines.line(message(name, text, session))
    assert all(map(is_harmless, line))
    author, separator, rest = line.partition(": ")
    assert separator
    assert unescape(rest) == text
    if name:
        assert unescape(author) == name
    else:
        assert author == f"«{session[:6]}»"
    assert name == "" or not author.startswith("«")


@given(NAMES, TEXTS)
def test_colour_adds_nothing_but_codes_of_our_own(name: str, text: str) -> None:
    """Without them it is the same line."""
    assert OWN_CODES.sub("", lines.line(message(name, text), colour=True)) == lines.line(message(name, text))


@given(NAMES, TEXTS, st.binary(max_size=8))
def test_a_json_line_is_exact_and_safe_to_look_at(name: str, text: str, data: bytes) -> None:
    """What is obeyed is in JSON's own escapes."""
    event = message(name, text)._replace(data=data)
    line = lines.json_line(event)
    assert json.loads(line) == json.loads(encode_event(event))
    assert all(map(is_harmless, line))
    assert len(line.splitlines()) == 1
