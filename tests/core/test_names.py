"""Names of clients and rooms: those that look the same are the same, and each can be seen."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bcast_grpc.core.hello import read_hello
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.names import check_name, check_room
from bcast_grpc.errors import CallError, ErrorCode, RequestError

LIMITS = Limits()

INVISIBLE = {
    "zero width space": "\u200b",
    "soft hyphen": "\u00ad",
    "byte order mark": "\ufeff",
    "word joiner": "\u2060",
    "joiner": "\u200d",
    "non-joiner": "\u200c",
    "mark of direction": "\u200e\u200f\u061c",
    "invisible times": "\u2062",
    "Mongolian vowel separator": "\u180e",
    "Hangul filler": "\u3164",
    "Hangul choseong filler": "\u115f",
    "Hangul jungseong filler": "\u1160",
    "halfwidth Hangul filler": "\uffa0",
    "blank Braille pattern": "\u2800",
    "null notehead": "\U0001d159",
    "blank hieroglyph": "\U00013441",
    "combining mark": "\u0301",
    "grapheme joiner": "\u034f",
    "variation selector": "\ufe0f",
    "variation selector of the supplement": "\U000e0100",
    "tags": "\U000e0067\U000e007f",
    "deprecated format character": "\u206a",
    "annotation": "\ufff9",
    "unassigned and ignorable": "\u2065",
    "noncharacter": "\ufdd0\uffff\U0010ffff",
    "many": "\u200b \u3164\u2800 \ufe0f",
    "ten thousand": "\u200b" * 10_000,
}
DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"

VISIBLE = {
    "family": "👩‍👩‍👧",
    "flag": "🇪🇸",
    "flag by tags": "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "skin": "👍🏽",
    "heart": "❤️",
    "rainbow flag": "🏳️‍🌈",
    "keycap": "1️⃣",
    "Persian": "می‌خواهم",
    "Arabic": "سلام",
    "Arabic with a joiner at its end": "\u0647\u200d",
    "Hebrew": "שלום",
    "Hebrew with a mark inside": "אבג\u200fabc",
    "Hindi": "हिन्दी",
    "Sinhala": "ශ්‍රී",
    "Malayalam with a joiner at its end": "ന്‍",
    "Thai": "ภาษา\u200bไทย",
    "Korean": "한국어",
    "Braille": "⠓⠕⠇⠁",
    "symbols": "☃ ♥",
    "private use": "\uf8ff",
    "an emoji of tomorrow": "\U0001fbfa",
    "lower case and upper case": "Dev dev",
    "inner spaces": "a  b",
}


def refused(label: str) -> RequestError:
    """The error with which both a name and a room are refused."""
    with pytest.raises(RequestError) as room:
        check_room(label, LIMITS)
    with pytest.raises(RequestError) as name:
        check_name(label, LIMITS)
    assert name.value.code is ErrorCode.NAME_INVALID
    assert room.value.reason == name.value.reason.replace("1 to 64", "1 to 128")
    return room.value


@pytest.mark.parametrize("label", INVISIBLE.values(), ids=INVISIBLE)
def test_something_of_a_name_can_be_seen(label: str) -> None:
    """Neither a name nor a room consists of what shows nothing; the text says which character it was."""
    error = refused(label)
    assert error.code is ErrorCode.NAME_INVALID
    assert f"U+{ord(label[0]):04X}" in error.reason
    assert "at least one of them visible" in error.reason


@pytest.mark.parametrize("character", DIRECTIONS)
def test_no_name_directs_the_text_around_it(character: str) -> None:
    """Wherever the character is."""
    for label in (f"ana{character}", f"{character}ana", f"a{character}na"):
        error = refused(label)
        assert error.code is ErrorCode.NAME_INVALID
        named = f"U+{ord(character):04X} {unicodedata.name(character)}"
        assert error.reason == f"contains {named}, which changes the direction of text; remove it"


@pytest.mark.parametrize("label", VISIBLE.values(), ids=VISIBLE)
def test_every_script_and_emoji_stays_as_it_is(label: str) -> None:
    """Joiners, selectors and tags that are part of what is seen stay, also at the end."""
    label = unicodedata.normalize("NFC", label)
    assert check_name(label, LIMITS) == check_room(label, LIMITS) == label


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("cafe\u0301", "café"),
        ("\u1112\u1161\u11ab", "한"),
        ("\u212b", "Å"),
        ("dev ", "dev"),
        ("\u3000 dev\u00a0", "dev"),
        ("\ufeffdev", "dev"),
        ("dev\u200b", "dev"),
        ("\u200edev\u2800", "dev"),
    ],
)
def test_what_looks_the_same_is_the_same(given: str, kept: str) -> None:
    """However it was typed or copied, composed or not, with blanks around it or not."""
    assert check_name(given, LIMITS) == check_room(given, LIMITS) == kept
    hello = read_hello([("name", given), ("room", given)], LIMITS)
    assert (hello.name, hello.room) == (kept, kept)


def test_the_length_counts_as_it_is_kept() -> None:
    """Not how it came: four characters may become one, and one may become three."""
    assert check_name("\u03b1\u0313\u0300\u0345" * 64, LIMITS) == "\u1f82" * 64
    assert check_name(f"{' ' * 5000}ana", LIMITS) == "ana"
    for label, counted in (("e\u0301" * 65, 65), ("\U0001d160" * 30, 90), ("a" * 5000, 5000)):
        with pytest.raises(RequestError, match=f"^is {counted} characters long; a name is 1 to 64 characters"):
            check_name(label, LIMITS)


@pytest.mark.parametrize("given", ["\n", "ana\n", "\tana", "ana\u2028"])
def test_line_breaks_and_tabs_are_no_blanks(given: str) -> None:
    """They are control characters, and refused wherever they are."""
    with pytest.raises(RequestError, match="contains the control character") as caught:
        check_name(given, LIMITS)
    assert caught.value.code is ErrorCode.NAME_INVALID


def test_a_room_is_refused_with_the_code_that_says_why() -> None:
    """What can't be seen is ``NAME_INVALID``; what is too long is the key's fault, as before."""
    for room, code in (
        ("\u200b", ErrorCode.NAME_INVALID),
        (" ", ErrorCode.NAME_INVALID),
        ("", ErrorCode.METADATA_INVALID),
        ("x" * 129, ErrorCode.METADATA_INVALID),
    ):
        with pytest.raises(CallError, match=r"^bcast-room: ") as caught:
            read_hello([("room", room)], LIMITS, "bcast-")
        assert caught.value.code is code


ODD = st.sampled_from("".join([*INVISIBLE.values(), *VISIBLE.values(), DIRECTIONS])[:4000])
ANY_TEXT = st.text(st.characters() | ODD, max_size=200)


@given(ANY_TEXT)
@example("\u0344")
@example(" \u0301")
@example("\u2000a\u2001")
@settings(deadline=None)
def test_what_passes_is_kept_as_it_is(text: str) -> None:
    """It is in NFC, has no blanks at its ends, fits, can be seen, and passes again unchanged."""
    try:
        kept = check_name(text, LIMITS)
    except RequestError:
        return
    assert unicodedata.is_normalized("NFC", kept)
    assert kept == kept.strip() == check_name(kept, LIMITS)
    assert kept == check_name(unicodedata.normalize("NFD", text), LIMITS)
    assert 1 <= len(kept) <= LIMITS.max_name
    assert any(unicodedata.category(character)[0] not in "MZ" for character in kept)
    assert not set(kept) & set(DIRECTIONS)
