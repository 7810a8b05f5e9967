"""What a client says of itself when it comes, the same at every door."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from bcast_grpc.core.limits import Limits
from bcast_grpc.errors import CallError, ErrorCode, RequestError
from bcast_grpc.events import Kind, Position

DEFAULT_ROOM = "lobby"

_KEYS = ("name", "room", "client", "events", "batch", "echo", "after", "history")
_NOTICES = {
    "welcome": Kind.WELCOME,
    "joined": Kind.JOINED,
    "left": Kind.LEFT,
    "progress": Kind.PROGRESS,
}
_SHOWN = 64
_SEQ = re.compile("[0-9]{1,18}")
_CONTROLS = frozenset({"Cc", "Zl", "Zp", "Cs"})


@dataclass(frozen=True, slots=True)
class Hello:
    """Who a client is and what it wants.

    Attributes:
        name: empty if it has none.
        room: where it goes.
        client: its own stable id; empty if it gave none.
        kinds: which kinds of the events that go to all it wants.
        batch: whether its frames may carry several events.
        echo: whether it wants its own messages too.
        after: the place after which it goes on; None: from now on.
        history: how many of the last messages it wants first, where there is no ``after``.
    """

    name: str = ""
    room: str = DEFAULT_ROOM
    client: str = ""
    kinds: frozenset[Kind] = frozenset({Kind.MESSAGE, Kind.LEFT})
    batch: bool = False
    echo: bool = False
    after: Position | None = None
    history: int = 0


def read_hello(pairs: Iterable[tuple[str, str]], limits: Limits, prefix: str = "") -> Hello:
    """Read keys and their decoded values.

    Args:
        pairs: keys without ``prefix``, and text.
        limits: how long the values may be.
        prefix: what the keys begin with at this door, for the errors' texts.

    Raises:
        CallError: ``METADATA_INVALID``, naming the key and what it takes; ``NAME_INVALID``.
    """
    given: dict[str, str] = {}
    for key, value in pairs:
        if key not in _KEYS:
            raise _invalid(
                f"{prefix}{shortened(key)}: no such key; there are {', '.join(prefix + known for known in _KEYS)}"
            )
        if key in given:
            raise _invalid(f"{prefix}{key}: given twice; it takes one value")
        given[key] = value
    if name := given.get("name", ""):
        try:
            check_name(name, limits)
        except RequestError as error:
            raise CallError(error.code, f"{prefix}name: {error.reason}") from None
    return Hello(
        name=name,
        room=_read_room(given.get("room", DEFAULT_ROOM), limits, prefix),
        client=_read_client(given.get("client", ""), limits, prefix),
        kinds=_read_events(given.get("events", "left"), prefix),
        batch=_read_flag("batch", given, prefix),
        echo=_read_flag("echo", given, prefix),
        after=_read_after(given["after"], prefix) if "after" in given else None,
        history=_read_history(given.get("history", "0"), prefix),
    )


def check_name(name: str, limits: Limits) -> None:
    """Check a client's name.

    Raises:
        RequestError: ``NAME_INVALID``.
    """
    if fault := _label_fault(name, limits.max_name):
        raise RequestError(ErrorCode.NAME_INVALID, fault)


def shortened(text: str) -> str:
    """Return as much of what a client wrote as an error's text should repeat."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _label_fault(label: str, max_characters: int) -> str:
    """Say why ``label`` is no name for a client or a room; nothing if it is one."""
    if not label.strip():
        return f"{shortened(label)!r} is blank; it takes 1 to {max_characters} characters"
    if len(label) > max_characters:
        return f"{len(label)} characters; it takes 1 to {max_characters}"
    for character in label:
        if unicodedata.category(character) in _CONTROLS:
            return f"holds the control character U+{ord(character):04X}; it takes 1 to {max_characters} others"
    return ""


def _read_room(room: str, limits: Limits, prefix: str) -> str:
    if fault := _label_fault(room, limits.max_room):
        raise _invalid(f"{prefix}room: {fault}")
    return room


def _read_client(client: str, limits: Limits, prefix: str) -> str:
    try:
        size = len(client.encode())
    except UnicodeEncodeError:
        raise _invalid(f"{prefix}client: half of a surrogate pair is no text") from None
    if size > limits.max_id_bytes:
        raise _invalid(f"{prefix}client: {size} bytes; it takes at most {limits.max_id_bytes}")
    return client


def _read_events(value: str, prefix: str) -> frozenset[Kind]:
    words = [word.strip() for word in value.split(",")]
    if words == ["all"]:
        return frozenset({Kind.MESSAGE, *_NOTICES.values()})
    if words == ["none"]:
        return frozenset({Kind.MESSAGE})
    for word in words:
        if word not in _NOTICES:
            raise _invalid(
                f"{prefix}events: {shortened(word)!r} is none of {', '.join(_NOTICES)}; or it takes all, or none, alone"
            )
    return frozenset({Kind.MESSAGE, *(_NOTICES[word] for word in words)})


def _read_flag(key: str, given: dict[str, str], prefix: str) -> bool:
    value = given.get(key, "0")
    if value not in ("0", "1"):
        raise _invalid(f"{prefix}{key}: {shortened(value)!r} does not fit; it takes 1 or 0")
    return value == "1"


def _read_after(value: str, prefix: str) -> Position:
    epoch, colon, seq = value.rpartition(":")
    if not (colon and epoch and _SEQ.fullmatch(seq)):
        raise _invalid(f"{prefix}after: {shortened(value)!r} does not fit; it takes EPOCH:SEQ, as in '3f2a9c1d:42'")
    return Position(epoch, int(seq))


def _read_history(value: str, prefix: str) -> int:
    if not _SEQ.fullmatch(value):
        raise _invalid(f"{prefix}history: {shortened(value)!r} does not fit; it takes a number of messages")
    return int(value)


def _invalid(reason: str) -> CallError:
    return CallError(ErrorCode.METADATA_INVALID, reason)
