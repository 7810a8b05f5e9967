"""What a client says about itself when it connects, the same at every door."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

from bcast_grpc.core.limits import Limits
from bcast_grpc.core.names import check_name, check_room, shortened
from bcast_grpc.errors import CallError, ErrorCode, RequestError
from bcast_grpc.events import Kind, ResumePoint

DEFAULT_ROOM = "lobby"

_KEYS = ("name", "room", "client", "events", "batch", "echo", "after", "history")
_NOTICES = {
    "welcome": Kind.WELCOME,
    "joined": Kind.JOINED,
    "left": Kind.LEFT,
    "progress": Kind.PROGRESS,
    "expiring": Kind.EXPIRING,
}
_SEQ = re.compile("[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Hello:
    """Who a client is and what it wants.

    Attributes:
        name: empty if it has none.
        room: the room that it joins.
        client: its own stable id; empty if it gave none.
        kinds: which kinds of the events that go to all members it wants.
        batch: whether its frames may carry several events.
        echo: whether it wants its own messages too.
        after: where it resumes; None if it wants only what comes from now on.
        history: how many of the last messages it wants first; ignored if ``after`` is given.
    """

    name: str = ""
    room: str = DEFAULT_ROOM
    client: str = ""
    kinds: frozenset[Kind] = frozenset({Kind.MESSAGE, Kind.LEFT})
    batch: bool = False
    echo: bool = False
    after: ResumePoint | None = None
    history: int = 0


def read_hello(pairs: Iterable[tuple[str, str]], limits: Limits, prefix: str = "") -> Hello:
    """Read a client's metadata.

    Args:
        pairs: keys without ``prefix``, and their decoded values.
        limits: how long the values may be.
        prefix: what the keys begin with at this door; used in the texts of errors.

    Raises:
        CallError: ``METADATA_INVALID`` or ``NAME_INVALID``; the text names the key and what would be right.
    """
    given: dict[str, str] = {}
    for key, value in pairs:
        if key not in _KEYS:
            keys = ", ".join(prefix + known for known in _KEYS)
            raise _invalid(f"{prefix}{shortened(key)}: is not a known key; the keys are {keys}")
        if key in given:
            raise _invalid(f"{prefix}{key}: is given twice; it must be given once")
        given[key] = value
    return Hello(
        name=_read_label("name", given, check_name, limits, prefix) if given.get("name") else "",
        room=_read_label("room", given, check_room, limits, prefix) if "room" in given else DEFAULT_ROOM,
        client=_read_client(given.get("client", ""), limits, prefix),
        kinds=_read_events(given.get("events", "left"), prefix),
        batch=_read_flag("batch", given, prefix),
        echo=_read_flag("echo", given, prefix),
        after=_read_after(given["after"], prefix) if "after" in given else None,
        history=_read_history(given.get("history", "0"), prefix),
    )


def _read_label(
    key: str, given: dict[str, str], check: Callable[[str, Limits], str], limits: Limits, prefix: str
) -> str:
    try:
        return check(given[key], limits)
    except RequestError as error:
        raise CallError(error.code, f"{prefix}{key}: {error.reason}") from None


def _read_client(client: str, limits: Limits, prefix: str) -> str:
    try:
        size = len(client.encode())
    except UnicodeEncodeError:
        raise _invalid(f"{prefix}client: contains half of a surrogate pair, which is not text") from None
    if size > limits.max_id_bytes:
        raise _invalid(f"{prefix}client: is {size} bytes long; the limit is {limits.max_id_bytes}")
    return client


def _read_events(value: str, prefix: str) -> frozenset[Kind]:
    words = [word.strip() for word in value.split(",")]
    if words == ["all"]:
        return _shared(frozenset({Kind.MESSAGE, *_NOTICES.values()}))
    if words == ["none"]:
        return _shared(frozenset({Kind.MESSAGE}))
    for word in words:
        if word not in _NOTICES:
            known = ", ".join(_NOTICES)
            raise _invalid(f"{prefix}events: {shortened(word)!r} is not one of {known}; all and none must stand alone")
    return _shared(frozenset({Kind.MESSAGE, *(_NOTICES[word] for word in words)}))


@cache
def _shared(kinds: frozenset[Kind]) -> frozenset[Kind]:
    """Return one shared set for equal kinds: there are few different sets, and many clients."""
    return kinds


def _read_flag(key: str, given: dict[str, str], prefix: str) -> bool:
    value = given.get(key, "0")
    if value not in ("0", "1"):
        raise _invalid(f"{prefix}{key}: must be 1 or 0, not {shortened(value)!r}")
    return value == "1"


def _read_after(value: str, prefix: str) -> ResumePoint:
    epoch, colon, seq = value.rpartition(":")
    if not (colon and epoch and _SEQ.fullmatch(seq)):
        raise _invalid(f"{prefix}after: must be EPOCH:SEQ, as in '3f2a9c1d:42', not {shortened(value)!r}")
    return ResumePoint(epoch, int(seq))


def _read_history(value: str, prefix: str) -> int:
    if not _SEQ.fullmatch(value):
        raise _invalid(f"{prefix}history: must be a number of messages, not {shortened(value)!r}")
    return int(value)


def _invalid(reason: str) -> CallError:
    return CallError(ErrorCode.METADATA_INVALID, reason)
