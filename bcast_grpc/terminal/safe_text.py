"""How what others write becomes safe to show, in pure functions.

Whatever a peer or a server chooses to send, what comes out of here holds no character that a terminal obeys or that
nobody sees. A name is shown as one word: it cannot hold the space that ends it, so it cannot pass for a name and a
text, for a notice, or for a time.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Callable
from zlib import crc32

from bcast_grpc.errors import BcastError
from bcast_grpc.events import Error, Event, Gap, GapReason, Kind, Member, Reconnecting, Resumed
from bcast_grpc.wire.json import encode_event

# Controls, what steers the direction of writing, separators, and what is there without being seen. Not among them: the
# joiners and variation selectors that emoji and several scripts are written with; they touch their neighbours only.
_OBEYED = (
    "\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff"
    "\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_IN_TEXT = re.compile(f"[{_OBEYED}]")
_IN_LINE = re.compile(rf"[{_OBEYED}\\]")

# In a name also: every space but the plain one, what looks like one, joiners and selectors outside emoji, and the marks
# that mean something where names are shown: the brackets of an author without one, and what stands for the unseen.
_EMOJI = "\u00a9\u00ae\u2190-\u2bff\U0001f000-\U0001faff"
_JOINED = f"(?<![{_EMOJI}\ufe0f])\u200d|\u200d(?![{_EMOJI}])|\u200c|(?<![{_EMOJI}])[\ufe00-\ufe0f]"
_SPACES = "\xa0\u1680\u2000-\u200a\u202f\u205f\u3000\u2800"
_IN_NAME = re.compile(f"[{_OBEYED}{_SPACES}\xab\xbb\u2400-\u2426]|<(?=U\\+)|{_JOINED}")
_IN_LINE_NAME = re.compile(rf"[{_OBEYED}{_SPACES}\xab\xbb\\]|(?<=:) |^ | $|{_JOINED}")

_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\"}
_SHOWN_SESSION = 6

# Of the 256 colours of a terminal: those apart from each other that have a contrast of about 4 or more on black and on
# white. A name's colour is its checksum's, so that it is the same for everyone and every day.
NAME_COLOURS = (27, 28, 30, 64, 99, 129, 130, 131, 133, 161, 164, 97)
DIM = "38;5;243"
ALARM = "38;5;196"
BOLD = "1"


def paint(text: str, style: str, colour: bool) -> str:
    """Wrap ``text`` into a terminal's colour codes; as it is where ``colour`` is off."""
    return f"\x1b[{style}m{text}\x1b[0m" if colour and text else text


def name_style(name: str) -> str:
    """The colour that goes with a name."""
    return f"38;5;{NAME_COLOURS[crc32(name.encode(errors='replace')) % len(NAME_COLOURS)]}"


def symbol(character: str) -> str:
    """A visible stand-in: a control picture for an ASCII control character, else its number."""
    number = ord(character)
    if number < 0x20:
        return chr(0x2400 + number)
    return "\u2421" if number == 0x7F else f"<U+{number:04X}>"


def escape(character: str) -> str:
    r"""How a program would write it: ``\n``, ``\x1b``, ``\u2028``, ``\U000e0001``; a backslash is doubled."""
    number = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def shown(text: str) -> str:
    """Text for a terminal: what would be obeyed or not be seen is a symbol, line breaks included."""
    return _grounded(_IN_TEXT.sub(_symbol, text), symbol)


def shown_lines(text: str) -> list[str]:
    """The same, a string for each line; there is at least one."""
    return [shown(line) for line in text.replace("\r\n", "\n").split("\n")]


def shown_name(name: str) -> str:
    """A name as one word: a space in it is an open box, and no two names are shown the same."""
    return _grounded(_IN_NAME.sub(_symbol, name).replace(" ", "\u2423"), symbol)


def shown_author(name: str, session: str) -> str:
    """Who says it, as one word: the name, or the beginning of the session id in brackets that no name can show."""
    return shown_name(name) if name else f"«{shown_name(session[:_SHOWN_SESSION])}»"


def clock(time_ns: int) -> str:
    """The local time of day, hours and minutes."""
    try:
        then = time.localtime(time_ns // 1_000_000_000)
    except (OverflowError, OSError, ValueError):  # what a server says need not be a time
        return "--:--"
    return f"{then.tm_hour:02}:{then.tm_min:02}"


# --- notices: what is not a message, in a few words on one line


def notice(event: Event) -> str:
    """What happened, on one line, names as one word each."""
    match event.detail:
        case Gap(first, last, reason):
            return _gap(first, last, reason)
        case Reconnecting(error):
            return f"{shown(str(error))}; trying again…"
        case Resumed(away_s):
            return f"back, after {away_s:.0f} s" if away_s >= 1 else "back"
        case Error(code, why):
            return f"{shown(why)} ({code.name})"
        case _ if event.kind in (Kind.JOINED, Kind.LEFT) and event.sender:
            return _with_name(event.message, event.sender)
        case _:
            return shown(event.message)


def reason(error: BcastError) -> str:
    """What went wrong, on one line."""
    return shown(str(error))


def who(members: tuple[Member, ...]) -> list[str]:
    """Who is here: a line for each, and since when."""
    return [f"{shown_author(each.name, each.session)}  since {clock(each.since_ns)}" for each in members]


def is_news(event: Event) -> bool:
    """Whether it is worth a line: not each try to connect that failed."""
    return not isinstance(event.detail, Reconnecting) or event.detail.attempt == 1


def _gap(first: int, last: int, reason: GapReason) -> str:
    why = {
        GapReason.TRIMMED: "no longer kept",
        GapReason.SLOW: "this client fell behind",
        GapReason.NEW_EPOCH: "the room began anew",
    }.get(reason, "for a reason not given")
    if not last:
        return f"messages may be missing: {why}"
    return f"message {first} is missing: {why}" if first == last else f"messages {first} to {last} are missing: {why}"


def _with_name(message: str, name: str) -> str:
    """Make names in "ana joined", "ana left" and "ana is now eva" one word each."""
    if message.startswith(f"{name} "):
        return f"{shown_name(name)}{shown(message[len(name) :])}"
    former, renamed, _ = message.rpartition(f" is now {name}")
    return f"{shown_name(former)} is now {shown_name(name)}" if renamed else shown(message)


# --- lines for programs


def line(event: Event, *, colour: bool = False) -> str:
    r"""A message as one line, ``AUTHOR: TEXT``.

    The first colon that a space follows ends the author. Control characters, line breaks included, and what is not seen
    are written as escapes, a backslash as two. An author without a name is its session id, as ``«4f1c22»``.
    """
    name = event.sender
    if name:
        author = paint(_grounded(_IN_LINE_NAME.sub(_escaped, name), escape), name_style(name), colour)
    else:
        author = paint(shown_author("", event.session), DIM, colour)
    return f"{author}: {_grounded(_IN_LINE.sub(_escaped, event.text), escape)}"


def json_line(event: Event) -> str:
    """An event as one line of JSON: exact, and yet safe to look at, since JSON has escapes of its own."""
    return _IN_TEXT.sub(_json_escaped, encode_event(event))


def _symbol(found: re.Match[str]) -> str:
    return symbol(found[0])


def _escaped(found: re.Match[str]) -> str:
    return escape(found[0])


def _json_escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _grounded(text: str, stand_in: Callable[[str], str]) -> str:
    """Give a leading combining mark a body of its own: it would change what stands before the text."""
    if text and unicodedata.category(text[0]).startswith("M"):
        return stand_in(text[0]) + text[1:]
    return text
