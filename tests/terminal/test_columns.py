"""Text stays in its column: no line of it can begin like another author's message."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bcast_grpc.console.safe_text import shown, shown_lines
from bcast_grpc.events import Author, Event, Kind, relayed
from bcast_grpc.terminal.columns import Columns, cells, fit, wrap

TEXTS = st.text(
    st.characters(exclude_categories=["Cs"])
    | st.sampled_from("\x00\n\r\x1b\x9b\u2028\u202e\u200d\ufe0f\u0301\u3000│┃*: 日👍")
)
NAMES = TEXTS.map(lambda text: text[:64])
SESSIONS = st.text("abcdefXYZ0123456789-_", min_size=1, max_size=16)
WIDTHS = st.integers(min_value=40, max_value=200)
FIRST = re.compile(r"(\d\d:\d\d) +(\S+) │ (.*)")
FURTHER = re.compile(r" +│ (.*)")
GUARD = "\u200e"
OWN_CODES = re.compile(r"\x1b\[(?:\d+;)*\d+m")


def message(name: str, text: str, session: str = "4f1c22ab") -> Event:
    """What the server relays."""
    return Event(Kind.MESSAGE, relayed(name, text), Author(session, name, ""), 1, 1_752_588_000_000_000_000)


def bar_at(line: str) -> int:
    """The column of the first bar that stands alone."""
    return cells(line[: line.index(" │ ")])


@given(NAMES, TEXTS, SESSIONS, WIDTHS)
@example("bob │ hi", "x\n14:03            bob │ hi", "s", 80)
@example("", "x" * 58 + "14:03 bob │ hi", "s", 80)
@example("a" * 200, "👩‍💻" * 99, "s", 40)
def test_a_message_stays_in_its_columns(name: str, text: str, session: str, width: int) -> None:
    """The first line tells time, author and text; all others begin with blanks up to the same bar; all of them fit."""
    said = Columns(width, colour=False).message(message(name, text, session)).removesuffix("\n").replace(GUARD, "")
    first, *further = said.split("\n")
    found = FIRST.fullmatch(first)
    assert found
    for line in (first, *further):
        assert shown(line) == line
        assert cells(line) < width
    for line in further:
        assert FURTHER.fullmatch(line)
        assert bar_at(line) == bar_at(first)
    parts = [found[3], *(line.split(" │ ", 1)[1] for line in further)]
    assert "".join(parts).replace(" ", "") == "".join(shown_lines(text or "(0 bytes of data)")).replace(" ", "")


@given(NAMES, TEXTS, WIDTHS)
def test_without_colour_it_is_the_same_without_codes(name: str, text: str, width: int) -> None:
    """Nothing is told by colour alone."""
    painted, plain = Columns(width, colour=True), Columns(width, colour=False)
    assert OWN_CODES.sub("", painted.message(message(name, text))) == plain.message(message(name, text))
    assert OWN_CODES.sub("", painted.mine(name, "s", text, 0)) == plain.mine(name, "s", text, 0)


@given(NAMES, TEXTS, WIDTHS)
def test_a_notice_and_my_own_words_are_no_message_of_others(name: str, text: str, width: int) -> None:
    """Where those have a bar, a notice has none, and what I said has another."""
    columns = Columns(width, colour=False)
    said = columns.message(message(name, text)).replace(GUARD, "")
    mark = len(said[: said.index(" │ ")]) + 1
    assert said[mark] == "│"
    assert columns.mine(name, "4f1c22ab", text, 0).replace(GUARD, "")[mark] == "┃"
    notice = columns.notice("ana joined", 0)
    column = bar_at(said) + 1
    assert notice[column] == "*"
    assert not notice[5:column].strip()


@given(NAMES, NAMES, SESSIONS, WIDTHS)
def test_a_prompt_is_as_wide_as_what_stands_before_a_text(room: str, name: str, session: str, width: int) -> None:
    """What is typed stands where it will be shown."""
    columns = Columns(width, colour=False)
    before_text = cells(columns.message(message("bob", "x")).removesuffix("x\n"))
    assert cells(columns.prompt(room, name, session)) == before_text == cells(columns.continuation())
    assert shown(columns.prompt(room, name, session)) == columns.prompt(room, name, session)


@pytest.mark.parametrize(
    ("text", "most", "lines"),
    [
        ("", 8, [""]),
        ("one two three", 8, ["one two", "three"]),
        ("onetwothree", 8, ["onetwoth", "ree"]),
        ("a  b", 2, ["a ", "b"]),
        ("日本語日本語", 5, ["日本", "語日", "本語"]),
        ("abc def", 3, ["abc", "def"]),
    ],
)
def test_a_line_is_cut_at_a_space_where_there_is_one(text: str, most: int, lines: list[str]) -> None:
    """A space at the cut is dropped; nothing else is."""
    assert wrap(text, most) == lines


@given(st.text(max_size=40), st.integers(min_value=6, max_value=30))
def test_a_shortened_word_fits(word: str, most: int) -> None:
    """And one that fits is not shortened."""
    assert cells(fit(word, most)) <= most
    assert cells(word) > most or fit(word, most) == word


def test_a_narrow_terminal_does_no_harm() -> None:
    """However narrow."""
    for width in range(1, 40):
        assert Columns(width, colour=False).message(message("ana maria", "hola, que tal")).endswith("\n")
        assert Columns(width, colour=False).prompt("lobby", "ana maria", "s")


def test_a_message_without_text_tells_how_much_data_it_has() -> None:
    """That is for programs."""
    assert Columns(80, colour=False).message(message("ana", "")._replace(data=b"abc")).endswith("│ (3 bytes of data)\n")


@pytest.mark.parametrize(("name", "text"), [("דנה", "שלום"), ("דנה", "13:44"), ("ana", "مرحبا")])
def test_writing_from_the_right_does_not_cross_the_bar(name: str, text: str) -> None:
    """Terminals that arrange it would move it there, but for marks on either side."""
    assert f"{name} {GUARD}│{GUARD} {text}\n" in Columns(80, colour=False).message(message(name, text))
    assert GUARD not in Columns(80, colour=False).message(message("ana", "hola"))
