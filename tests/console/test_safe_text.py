"""Whatever others write, what is shown of it obeys nobody and passes for nobody else's."""

from __future__ import annotations

import re
import sys
import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from bcast_grpc.console import safe_text

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


def is_harmless(character: str) -> bool:
    """Whether a terminal neither obeys it nor lets it change how others are laid out or hide."""
    if character in "\u200c\u200d":  # joiners: emoji and several scripts are written with them
        return True
    category = unicodedata.category(character)
    return category not in ("Cc", "Cs", "Zl", "Zp") and not (
        category == "Cf" and unicodedata.bidirectional(character) in ("BN", "LRE", "RLE", "LRO", "RLO", "PDF", "ALM")
    )


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
