"""Whatever others write, what is shown of it obeys nobody and passes for nobody else's."""

from __future__ import annotations

import json
import re
import sys
import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import NOBODY, Author, Closing, Error, Event, Gap, GapReason, Kind, Member, relayed
from bcast_grpc.terminal import safe_text
from bcast_grpc.wire.json import encode_event

HOSTILE = (
    "\x00\x07\x08\t\n\r\x1b\x7f\x85\x9b\xad\u061c\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069\ufeff"
    "\ufe0f\u0301\u20dd\u3000\xa0\u2800\U000e0041\xab\xbb\u2423\u241b\\:>│┃*! <U+0x\u4f60\U0001f44d"
)
CHARACTERS = st.characters(exclude_categories=["Cs"]) | st.sampled_from(HOSTILE)
TEXTS = st.text(CHARACTERS, max_size=40) | st.lists(
    st.sampled_from(["bob: hi", "14:03 bob │ hi", "\n", "\r\n", "\x1b[2J", "bob joined", "\\n", " ", ": "])
).map("".join)
NAMES = TEXTS.map(lambda text: text[:64])
SESSIONS = st.text("abcdefXYZ0123456789-_", min_size=1, max_size=16)

OWN_CODES = re.compile(r"\x1b\[(?:\d+;)*\d+m")


def is_harmless(character: str) -> bool:
    """Whether a terminal neither obeys it nor lets it change how others are laid out or hide."""
    if character in "\u200c\u200d":  # joiners: emoji and several scripts are written with them
        return True
    category = unicodedata.category(character)
    return category not in ("Cc", "Cs", "Zl", "Zp") and not (
        category == "Cf" and unicodedata.bidirectional(character) in ("BN", "LRE", "RLE", "LRO", "RLO", "PDF", "ALM")
    )


def message(name: str, text: str, session: str = "4f1c22ab") -> Event:
    """What the server relays."""
    return Event(Kind.MESSAGE, relayed(name, text), Author(session, name, ""), 1, 1_752_588_000_000_000_000)


def unescape(written: str) -> str:
    """What the escapes of ``safe_text.escape`` stand for."""
    plain = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}

    def character(found: re.Match[str]) -> str:
        return plain.get(found[1]) or chr(int(found[1][1:], 16))

    return re.sub(r"\\(n|t|r|\\|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})", character, written)


# --- text


def test_no_character_of_unicode_that_is_obeyed_or_unseen_is_shown_as_it_is() -> None:
    """All controls, format characters, separators and surrogates become symbols."""
    for number in range(sys.maxunicode + 1):
        shown = safe_text.shown(f"a{chr(number)}b")
        assert all(map(is_harmless, shown)), hex(number)
        assert shown.isprintable() or unicodedata.category(chr(number)) in ("Zs", "Co", "Cn", "Cf"), hex(number)


@given(TEXTS)
def test_text_is_shown_on_one_line_without_anything_that_is_obeyed(text: str) -> None:
    """Whatever the text."""
    shown = safe_text.shown(text)
    assert all(map(is_harmless, shown))
    assert len(shown.splitlines()) <= 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hola, ñandú 👩‍💻 日本語", "hola, ñandú 👩‍💻 日本語"),
        ("\x1b[2J", "␛[2J"),
        ("a\x9bb", "a<U+009B>b"),
        ("a\u202eb", "a<U+202E>b"),
        ("\x7f\t", "␡␉"),
        ("\u0301a", "<U+0301>a"),
        ("a\r\nb", "a␍␊b"),
    ],
)
def test_text_is_shown_with_symbols_for_what_is_obeyed_and_nothing_else(text: str, shown: str) -> None:
    """Ordinary text of any script stays as it is."""
    assert safe_text.shown(text) == shown


def test_both_line_breaks_begin_a_line_and_a_lone_carriage_return_does_not() -> None:
    """A carriage return alone would write over what stands there."""
    assert safe_text.shown_lines("a\nb\r\nc\rd") == ["a", "b", "c␍d"]
    assert safe_text.shown_lines("") == [""]


# --- names


@given(NAMES, SESSIONS)
@example("", "\x1b[2J")
@example("bob> ", "x")
def test_an_author_is_one_word(name: str, session: str) -> None:
    """It holds no space of any kind, so it cannot hold what comes after it."""
    shown = safe_text.shown_author(name, session)
    assert shown
    assert shown.split() == [shown]
    assert all(map(is_harmless, shown))


@given(NAMES, NAMES)
@example("a b", "a\u2423b")
@example("\u202e", "<U+202E>")
@example("ana", "ana\u200d")
def test_no_two_names_are_shown_the_same(one: str, other: str) -> None:
    """Not even one that spells out how the other is shown."""
    assume(one != other)
    assert safe_text.shown_name(one) != safe_text.shown_name(other)
    assert (
        safe_text.shown_name(safe_text.shown_name(one)) != safe_text.shown_name(one) or safe_text.shown_name(one) == one
    )


@given(NAMES.filter(bool), SESSIONS)
@example("«4f1c22»", "4f1c22ab")
def test_no_name_passes_for_an_author_without_one(name: str, session: str) -> None:
    """The brackets around a session id are shown in no name."""
    assert safe_text.shown_author(name, session) != safe_text.shown_author("", session)
    assert not set("«»") & set(safe_text.shown_name(name))


def test_a_name_may_be_an_emoji() -> None:
    """Joiners inside one stay; elsewhere in a name they would make two names look the same."""
    assert safe_text.shown_name("👩‍💻") == "👩‍💻"
    assert safe_text.shown_name("❤️") == "❤️"
    assert safe_text.shown_name("ana\ufe0f") == "ana<U+FE0F>"


def test_a_name_has_the_same_colour_every_time() -> None:
    """It does not depend on the process."""
    assert safe_text.name_style("ana") == "38;5;130"
    assert len({safe_text.name_style(f"name {number}") for number in range(200)}) == len(safe_text.NAME_COLOURS)


@pytest.mark.parametrize("colour", [*safe_text.NAME_COLOURS, int(safe_text.DIM[5:]), int(safe_text.ALARM[5:])])
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
    assert safe_text.clock(time_ns) == "--:--"


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
            "messages 3 to 5 are missing: this client fell behind",
        ),
        (Event(Kind.GAP, "g", detail=Gap(3, 3, GapReason.TRIMMED)), "message 3 is missing: no longer kept"),
        (Event(Kind.GAP, "g", detail=Gap(0, 0, GapReason.NEW_EPOCH)), "messages may be missing: the room began anew"),
    ],
)
def test_a_notice_is_one_line_in_which_a_name_is_one_word(event: Event, shown: str) -> None:
    """So that a name cannot tell of what did not happen."""
    assert safe_text.notice(event) == shown


def test_who_is_here_is_told_by_name_or_session() -> None:
    """A line each."""
    lines = safe_text.who((Member("4f1c22ab", "", 0), Member("2", "a b", 0)))
    assert [line.split()[0] for line in lines] == ["«4f1c22»", "a␣b"]


# --- lines for programs


@given(NAMES, TEXTS, SESSIONS)
@example("bob: hi", "x", "s")
@example("bob:", " x", "s")
@example("\\n", "\n\\", "s")
def test_a_line_tells_author_and_text_exactly(name: str, text: str, session: str) -> None:
    """It ends the author at the first colon and space, and its escapes can be undone."""
    line = safe_text.line(message(name, text, session))
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
    assert OWN_CODES.sub("", safe_text.line(message(name, text), colour=True)) == safe_text.line(message(name, text))


@given(NAMES, TEXTS, st.binary(max_size=8))
def test_a_json_line_is_exact_and_safe_to_look_at(name: str, text: str, data: bytes) -> None:
    """What is obeyed is in JSON's own escapes."""
    event = message(name, text)._replace(data=data)
    line = safe_text.json_line(event)
    assert json.loads(line) == json.loads(encode_event(event))
    assert all(map(is_harmless, line))
    assert len(line.splitlines()) == 1
