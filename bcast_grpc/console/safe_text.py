"""Make text that others wrote safe to show, in pure functions.

Whatever a peer or a server sends, the result contains no character that a terminal obeys or that nobody can see.
A name is shown as one word: it cannot contain the space that ends it, so it cannot pass for a name and a text, for a
notice, or for a time.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

# Control characters, marks of the writing direction, separators, and invisible characters. Not among them: the joiners
# and variation selectors that emoji and several scripts need; those change only their neighbours.
_OBEYED = (
    "\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff"
    "\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_IN_TEXT = re.compile(f"[{_OBEYED}]")
_IN_LINE = re.compile(rf"[{_OBEYED}\\]")

# In a name also: every space but the plain one, what looks like a space, joiners and selectors outside emoji, and the
# marks that we use ourselves: the brackets of an author without a name, and the symbols of invisible characters.
_EMOJI = "\u00a9\u00ae\u2190-\u2bff\U0001f000-\U0001faff"
_JOINED = f"(?<![{_EMOJI}\ufe0f])\u200d|\u200d(?![{_EMOJI}])|\u200c|(?<![{_EMOJI}])[\ufe00-\ufe0f]"
_SPACES = "\xa0\u1680\u2000-\u200a\u202f\u205f\u3000\u2800"
_IN_NAME = re.compile(f"[{_OBEYED}{_SPACES}\xab\xbb\u2400-\u2426]|<(?=U\\+)|{_JOINED}")
_IN_LINE_NAME = re.compile(rf"[{_OBEYED}{_SPACES}\xab\xbb\\]|(?<=:) |^ | $|{_JOINED}")

_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\"}
_SHOWN_SESSION = 6


def symbol(character: str) -> str:
    """A visible substitute: a control picture for an ASCII control character, else its number."""
    number = ord(character)
    if number < 0x20:
        return chr(0x2400 + number)
    return "\u2421" if number == 0x7F else f"<U+{number:04X}>"


def escape(character: str) -> str:
    r"""How source code would write it: ``\n``, ``\x1b``, ``\u2028``, ``\U000e0001``; a backslash is doubled."""
    number = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def shown(text: str) -> str:
    """Text for a terminal: control characters, line breaks included, and invisible ones become symbols."""
    return _grounded(_IN_TEXT.sub(_symbol, text), symbol)


def shown_lines(text: str) -> list[str]:
    """The same as ``shown``, with a string for each line; there is at least one."""
    return [shown(line) for line in text.replace("\r\n", "\n").split("\n")]


def shown_name(name: str) -> str:
    """A name as one word: spaces become open boxes, and no two names look the same."""
    return _grounded(_IN_NAME.sub(_symbol, name).replace(" ", "\u2423"), symbol)


def shown_author(name: str, session: str) -> str:
    """The author as one word: the name, or the beginning of the session id in brackets that no name can contain."""
    return shown_name(name) if name else f"«{shown_name(session[:_SHOWN_SESSION])}»"


def escaped_name(name: str) -> str:
    """A name for a line that programs read; it contains no colon that a space follows."""
    return _grounded(_IN_LINE_NAME.sub(_escaped, name), escape)


def escaped(text: str) -> str:
    """A text for a line that programs read: control characters, line breaks included, become escapes."""
    return _grounded(_IN_LINE.sub(_escaped, text), escape)


def escaped_json(text: str) -> str:
    """JSON that is safe to look at, and means the same: JSON has escapes of its own."""
    return _IN_TEXT.sub(_json_escaped, text)


def _symbol(found: re.Match[str]) -> str:
    return symbol(found[0])


def _escaped(found: re.Match[str]) -> str:
    return escape(found[0])


def _json_escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _grounded(text: str, stand_in: Callable[[str], str]) -> str:
    """Replace a leading combining mark: it would change what stands before the text."""
    if text and unicodedata.category(text[0]).startswith("M"):
        return stand_in(text[0]) + text[1:]
    return text
