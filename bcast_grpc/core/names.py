"""Which names of clients and rooms are valid: two names that look the same should be the same."""

from __future__ import annotations

import unicodedata

from bcast_grpc.core.limits import Limits
from bcast_grpc.errors import ErrorCode, RequestError

_SHOWN = 64
_CONTROLS = frozenset({"Cc", "Zl", "Zp", "Cs"})
_NFC_SHRINKS_BY = 4  # no character decomposes into more than four

# Embedding, overriding and isolating the direction, which reaches into the text around the name.
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# Blank, though Unicode counts them as letters and symbols: fillers of Hangul, Braille, hieroglyphs and musical
# notation, and the object replacement character.
_FILLERS = frozenset("\u115f\u1160\u2800\u3164\uffa0\ufffc\U00013441\U00013442\U0001d159")

# Unassigned, and ignored by what does not know them. Other unassigned characters may be new emoji, so they are visible.
_IGNORABLE = (range(0x2065, 0x2066), range(0xFDD0, 0xFDF0), range(0xFFF0, 0xFFF9), range(0xE0000, 0xE1000))

# At the end of a name these are invisible, so they are removed. Joiners, variation selectors and tags change what is
# seen, and stay.
_SPACES = "".join(map(chr, (0x20, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000)))
_BLANK_AT_ENDS = _SPACES + "\u00ad\u061c\u180e\u200b\u200e\u200f\u2060\u2800\u3164\ufeff\uffa0"


def check_name(name: str, limits: Limits) -> str:
    """Return a client's name as it is kept: in NFC, without blanks at its ends.

    Raises:
        RequestError: ``NAME_INVALID``.
    """
    return _check(name, limits.max_name, ErrorCode.NAME_INVALID)


def check_room(room: str, limits: Limits) -> str:
    """Return a room's name as it is kept: in NFC, without blanks at its ends.

    Raises:
        RequestError: ``NAME_INVALID`` if it has no visible character, or changes the direction of text; else
            ``METADATA_INVALID``.
    """
    return _check(room, limits.max_room, ErrorCode.METADATA_INVALID)


def shortened(text: str) -> str:
    """Shorten what a client wrote, for the text of an error."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _check(label: str, most: int, unfit: ErrorCode) -> str:
    kept = label.strip(_BLANK_AT_ENDS)
    if len(kept) > most * _NFC_SHRINKS_BY:  # to normalise a long text only to refuse it would be a waste
        raise RequestError(unfit, f"is {len(kept)} characters long; a name is 1 to {most} characters")
    for character in kept:
        if unicodedata.category(character) in _CONTROLS:
            named = f"contains the control character U+{ord(character):04X}"
            raise RequestError(unfit, f"{named}; a name is 1 to {most} characters without control characters")
    kept = unicodedata.normalize("NFC", kept)
    if fault := _invisibility(label, kept, most) or _direction(kept):
        raise RequestError(ErrorCode.NAME_INVALID if label else unfit, fault)
    if len(kept) > most:
        raise RequestError(unfit, f"is {len(kept)} characters long; a name is 1 to {most} characters")
    return kept


def _invisibility(label: str, kept: str, most: int) -> str:
    """Return what is wrong if no character of a label is visible; empty if one is."""
    if any(map(_is_visible, kept)):
        return ""
    expected = f"a name is 1 to {most} characters"
    if not label.strip():
        return f"is blank ({shortened(label)!r}); {expected}"
    example = next(character for character in label if not character.isspace())
    return f"has no visible character ({_named(example)}); {expected}, at least one of them visible"


def _direction(kept: str) -> str:
    """Return what is wrong if a label changes the direction of the text around it; empty if it does not."""
    return next(
        (
            f"contains {_named(character)}, which changes the direction of text; remove it"
            for character in kept
            if character in _DIRECTIONS
        ),
        "",
    )


def _is_visible(character: str) -> bool:
    category, code = unicodedata.category(character), ord(character)
    if character in _FILLERS:
        return False
    if category == "Cn":
        return code & 0xFFFE != 0xFFFE and not any(code in ignorable for ignorable in _IGNORABLE)
    return category[0] in "LNPS" or category == "Co"


def _named(character: str) -> str:
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".strip()
