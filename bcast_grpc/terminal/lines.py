"""Events as lines of text: messages and notices, with the colours of names."""

from __future__ import annotations

import time
from zlib import crc32

from bcast_grpc.console.safe_text import escaped, escaped_json, escaped_name, shown, shown_author, shown_name
from bcast_grpc.errors import BcastError
from bcast_grpc.events import Error, Event, Gap, GapReason, Kind, Member, Reconnecting, Resumed
from bcast_grpc.wire.json_events import encode_event

# Colours of the 256-colour palette that differ from each other and have a contrast of about 4 or more on black and on
# white. The checksum of a name chooses its colour, so it is the same for everyone and every day.
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


def clock(time_ns: int) -> str:
    """The local time of day, hours and minutes."""
    try:
        then = time.localtime(time_ns // 1_000_000_000)
    except (OverflowError, OSError, ValueError):  # a server may send anything
        return "--:--"
    return f"{then.tm_hour:02}:{then.tm_min:02}"


# --- notices: what is not a message, in a few words on one line


def notice(event: Event) -> str:
    """An event that is not a message, on one line; each name is one word."""
    match event.detail:
        case Gap(first, last, reason):
            return _gap(first, last, reason)
        case Reconnecting(error):
            return f"{shown(str(error))}; reconnecting…"
        case Resumed(away_s, _, moved_to):
            what = f"reconnected to {shown(moved_to)}" if moved_to else "reconnected"
            return f"{what} after {away_s:.0f} s" if away_s >= 1 else what
        case Error(code, why):
            return f"{shown(why)} ({code.name})"
        case _ if event.kind in (Kind.JOINED, Kind.LEFT) and event.sender:
            return _with_name(event.message, event.sender)
        case _:
            return shown(event.message)


def reason(error: BcastError) -> str:
    """An error, on one line."""
    return shown(str(error))


def who(members: tuple[Member, ...]) -> list[str]:
    """The members of the room: a line for each, with the time of joining."""
    return [f"{shown_author(each.name, each.session)}  since {clock(each.since_ns)}" for each in members]


def is_news(event: Event) -> bool:
    """Whether an event is worth a line; further failed attempts to reconnect are not."""
    return not isinstance(event.detail, Reconnecting) or event.detail.attempt == 1


def _gap(first: int, last: int, reason: GapReason) -> str:
    why = {
        GapReason.TRIMMED: "no longer kept",
        GapReason.SLOW: "this client was too slow",
        GapReason.NEW_EPOCH: "the room began a new epoch",
        GapReason.NOT_ALLOWED: "you are not allowed to read earlier messages",
    }.get(reason, "the server gave no reason")
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

    The author ends at the first colon that a space follows. Control characters, line breaks included, and invisible
    ones are written as escapes, and a backslash as two. An author without a name is shown as ``«4f1c22»``, the
    beginning of the session id.
    """
    name = event.sender
    if name:
        author = paint(escaped_name(name), name_style(name), colour)
    else:
        author = paint(shown_author("", event.session), DIM, colour)
    return f"{author}: {escaped(event.text)}"


def json_line(event: Event) -> str:
    """An event as one line of JSON, exact and safe to look at."""
    return escaped_json(encode_event(event))
