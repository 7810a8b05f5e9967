r"""The proto3 JSON mapping of the contract's messages, with the field names of the ``.proto``.

What ``google.protobuf.json_format`` makes of them, by hand: it takes a tenth of the time. Three shapes go to a client:
an object for each event, a line for each event, and an array of events, for a client that asked for batches.

A TCP client sends objects with nothing between them that says where one ends, so ``RequestReader`` looks for the ends:
the brackets that are in no text, found by regular expressions that never step back, so that a byte is looked at a fixed
number of times however the stream is cut. What stands between the brackets is the parser's business.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Sequence
from functools import lru_cache
from time import gmtime, strftime
from typing import TypeAlias

from pydantic_core import from_json, to_json

from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Ack, Closing, Detail, Error, Event, Gap, GapReason, Kind, Members, Request, Welcome
from bcast_grpc.wire.protobuf import MAX_BATCH_BYTES as MAX_BATCH_BYTES
from bcast_grpc.wire.protobuf import MAX_REQUEST_BYTES as MAX_REQUEST_BYTES
from bcast_grpc.wire.protobuf import MalformedFrame as MalformedFrame

Object: TypeAlias = dict[str, object]

PIECE_BYTES = MAX_BATCH_BYTES - 2
"""What pieces of events may be joined up to: closed as an array, they are a byte more."""

_NS = 1_000_000_000
_NESTED = "batch: a batch within a batch; put all requests into one list"


# --- events: the server's way to a client


def encode_event(event: Event) -> str:
    """Encode an event as one line of JSON; unset fields are left out."""
    return to_json(_event(event)).decode()


def encode_singly(events: Sequence[Event]) -> list[tuple[bytes, int]]:
    """Encode each event as a frame of its own, for a client that did not ask for batches."""
    return [(to_json(_event(event)), 1) for event in events]


def encode_lines(events: Sequence[Event]) -> list[tuple[bytes, int]]:
    """Encode events as lines, pieces of which can be joined with others.

    Returns:
        Each piece with the number of events in it. None is larger than ``PIECE_BYTES``, one of a single event apart.
    """
    return _pieces(events, lambda events: b"".join([to_json(_event(event)) + b"\n" for event in events]))


def encode_arrays(events: Sequence[Event]) -> list[tuple[bytes, int]]:
    """Encode events as pieces of an array, which are joined end to end and made one by ``close_array``.

    Returns:
        As for ``encode_lines``.
    """
    return _pieces(events, lambda events: b"," + to_json([_event(event) for event in events])[1:-1])


def close_array(frame: bytes) -> bytes:
    """Return joined pieces of ``encode_arrays``, at least one, as the array that a client takes."""
    return b"".join((b"[", memoryview(frame)[1:], b"]"))


def _pieces(events: Sequence[Event], encode: Callable[[Sequence[Event]], bytes]) -> list[tuple[bytes, int]]:
    if not events:
        return []
    piece = encode(events)
    if len(piece) <= PIECE_BYTES or len(events) == 1:
        return [(piece, len(events))]
    middle = len(events) // 2
    return _pieces(events[:middle], encode) + _pieces(events[middle:], encode)


def _event(event: Event) -> Object:
    kind, text, author, seq, time_ns, data, id_, detail = event
    fields: Object = {}
    if text:
        fields["message"] = text
    if kind:
        fields["kind"] = _KINDS.get(kind, kind)
    if author.name:
        fields["sender"] = author.name
    if author.session:
        fields["session"] = author.session
    if seq:
        fields["seq"] = str(seq)
    if time_ns:
        fields["time"] = _timestamp(time_ns)
    if data:
        fields["data"] = b2a_base64(data, newline=False).decode()
    if id_:
        fields["id"] = id_
    if detail is not None:
        fields.update(_detail(detail))
    return fields


def _detail(detail: Detail) -> Object:
    match detail:
        case Ack(seq, epoch, duplicate, queued, refused):
            return {"ack": _set(seq=_number(seq), epoch=epoch, duplicate=duplicate, queued=queued, refused=refused)}
        case Error(code, reason, retryable, retry_after_s):
            retry_after = _duration(retry_after_s) if retry_after_s else ""
            error = _set(code=_CODES.get(code), reason=reason, retryable=retryable, retry_after=retry_after)
            return {"error": error}
        case Welcome(session, room, epoch, resumed, members):
            return {"welcome": _set(session=session, room=room, epoch=epoch, resumed=resumed, members=members)}
        case Members(members, more):
            shown = [_set(session=one.session, name=one.name, since=_timestamp(one.since_ns)) for one in members]
            return {"members": _set(members=shown, more=more)}
        case Gap(first, last, reason):
            return {"gap": _set(first_missed=_number(first), last_missed=_number(last), reason=_REASONS.get(reason))}
        case Closing(reason, reconnect_after_s):
            return {"closing": _set(reason=reason, reconnect_after=_duration(reconnect_after_s))}
        case _:  # the client library's own
            return {}


def _set(**fields: object) -> Object:
    return {key: value for key, value in fields.items() if value}


_KINDS: dict[int, str] = {kind: f"EVENT_KIND_{kind.name}" for kind in Kind if kind > 0}
_CODES: dict[int, str] = {code: f"ERROR_CODE_{code.name}" for code in ErrorCode if code}
_REASONS: dict[int, str] = {reason: f"GAP_REASON_{reason.name}" for reason in GapReason if reason}


def _number(number: int) -> str:
    return str(number) if number else ""


@lru_cache(maxsize=256)  # messages that were accepted together have one time
def _timestamp(time_ns: int) -> str:
    seconds, nanos = divmod(time_ns, _NS)
    return f"{_date_and_time(seconds)}{_fraction(nanos)}Z"


@lru_cache(maxsize=16)
def _date_and_time(seconds: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(seconds))


def _duration(seconds: float) -> str:
    whole, nanos = divmod(round(seconds * _NS), _NS)
    return f"{whole}{_fraction(nanos)}s"


def _fraction(nanos: int) -> str:
    """Thousandths, millionths or all: as few digits as say it."""
    if nanos % 1000:
        return f".{nanos:09}"
    if nanos % 1_000_000:
        return f".{nanos // 1000:06}"
    return f".{nanos // 1_000_000:03}" if nanos else ""


# --- requests: a client's way to the server


def decode_requests(frame: bytes | bytearray | str) -> list[Request]:
    """Decode one JSON value into its requests, in order. What is wrong with one of them is its ``fault``.

    Raises:
        MalformedFrame: it is no JSON, text that is not UTF-8 included.
    """
    value = _parse(frame)
    if type(value) is list:
        return [_request(item, within_batch=True) for item in value]
    if type(value) is dict and type(batch := value.get("batch")) is list and batch:
        return [_request(item, within_batch=True) for item in batch]
    return [_request(value)]


def _parse(text: bytes | bytearray | str, *, unfinished: bool = False) -> object:
    """Parse JSON, or what is there of an unfinished value."""
    try:
        return from_json(text, allow_inf_nan=False, cache_strings="keys", allow_partial=unfinished)
    except ValueError as error:
        raise MalformedFrame(f"broken JSON: {error}") from None
    except TypeError:
        raise MalformedFrame("broken JSON: half of a surrogate pair is no text") from None


def _request(value: object, *, within_batch: bool = False) -> Request:
    if type(value) is not dict:
        return Request(fault=f'a request is an object like {{"msg":"hola"}}, not {_name(value)}')
    try:
        _refuse_batch(value, within_batch)
        return Request(_text(value, "operacion"), _text(value, "msg"), _data(value), _text(value, "id"))
    except _Misfit as misfit:
        id_ = value.get("id")
        return Request(id=id_ if type(id_) is str else "", fault=str(misfit))


class _Misfit(ValueError):
    """A value that does not fit its key."""


def _refuse_batch(value: Object, within_batch: bool) -> None:
    batch = value.get("batch")
    if batch is None or batch == []:
        return
    if within_batch and type(batch) is list:
        raise _Misfit(_NESTED)
    raise _Misfit(_misfit("batch", "a list of requests", batch))


def _text(value: Object, key: str) -> str:
    text = value.get(key)
    if type(text) is str:
        return text
    if text is None:
        return ""
    raise _Misfit(_misfit(key, "text", text))


def _data(value: Object) -> bytes:
    text = value.get("data")
    if text is None:
        return b""
    if type(text) is not str:
        raise _Misfit(_misfit("data", "base64 text", text))
    try:
        return _from_base64(text)
    except ValueError:  # binascii.Error is one
        raise _Misfit("data: takes base64 text; this is none") from None


def _from_base64(text: str) -> bytes:
    """Decode either alphabet, padded or not."""
    body = text.rstrip("=")
    padded = body + "=" * (-len(body) % 4)
    if text not in (body, padded):
        raise ValueError("padded too much, or too little")
    return a2b_base64(padded.replace("-", "+").replace("_", "/"), strict_mode=True)


def _misfit(key: str, right: str, wrong: object) -> str:
    return f"{key}: takes {right}, not {_name(wrong)}"


def _name(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"


# --- a stream of requests

_MARK = b"\xef\xbb\xbf"  # what some editors begin a file of UTF-8 with
_MAX_DEPTH = 201  # what the parser takes
_LEVELS = 3  # what is nested deeper within a value, or has no end yet, is looked at bracket by bracket
_SMALL = 1024  # what a person types, or a client that cannot do it: its faults are told at once
_SHOWN = 24

# A repetition with "+" gives nothing back, so there is one way to match, or none.
_IN_TEXT = rb'[^"\\]*+(?:\\.[^"\\]*+)*+'
_FILLING = rb'[^"\[\]{}]*+(?:"' + _IN_TEXT + rb'"[^"\[\]{}]*+)*+'  # no bracket, and no text that does not end


def _filling(levels: int) -> bytes:
    """The pattern of what may stand between brackets, whole lists and objects of so many levels included."""
    if not levels:
        return _FILLING
    return _FILLING + rb"(?:[\[{]" + _filling(levels - 1) + rb"[\]}]" + _FILLING + rb")*+"


_TO_VALUE = re.compile(rb"[ \t\r\n]*+")
_VALUE = re.compile(rb"[\[{]" + _filling(_LEVELS) + rb"[\]}]", re.DOTALL)
_TO_BRACKET = re.compile(_filling(_LEVELS) + rb'(?:(?P<open>[\[{])|(?P<close>[\]}])|(?P<quote>"))?+', re.DOTALL)
_TO_QUOTE = re.compile(_IN_TEXT, re.DOTALL)


class RequestReader:
    """Reads a byte stream of JSON objects, and of arrays of them, as it comes in.

    Attributes:
        fault: why nothing more can be read: ``MALFORMED`` or ``MESSAGE_TOO_LARGE``; None while all is well.

    Args:
        max_bytes: the largest object or array taken.
    """

    def __init__(self, max_bytes: int = MAX_REQUEST_BYTES) -> None:
        self.fault: CallError | None = None
        self._max_bytes = max_bytes
        self._first: bytes | None = b""  # until it is known whether they are a mark
        self._rest = bytearray()  # an unfinished value
        self._looked = 0  # how far its end was looked for,
        self._depth = 0  # how many brackets are open there,
        self._in_text = False  # and whether it is within a text
        self._parsed = 0  # how much of it is known to be no broken JSON

    def feed(self, data: bytes) -> list[Request]:
        """Read the next bytes of the stream, wherever they were cut.

        Cost: linear in the bytes of the stream; it holds ``max_bytes`` and one segment at most.

        Returns:
            The requests that are complete now, in order; those before a ``fault`` too.
        """
        requests: list[Request] = []
        if self.fault is None:
            try:
                self._read(self._without_mark(data), requests)
            except CallError as fault:
                self._fail(fault)
            except MalformedFrame as fault:
                self._fail(_malformed(f"{fault} of the object"))
        return requests

    def close(self) -> None:
        """Tell that the stream has ended; in the middle of an object that is a ``fault``."""
        if self._rest or self._first:
            self._fail(_malformed("the stream ended in the middle of an object"))

    def _fail(self, fault: CallError) -> None:
        self.fault = fault
        self._first = None
        self._rest = bytearray()

    def _without_mark(self, data: bytes) -> bytes:
        if self._first is None:
            return data
        self._first += data
        if len(self._first) < len(_MARK) and _MARK.startswith(self._first):
            return b""
        data, self._first = self._first.removeprefix(_MARK), None
        return data

    def _read(self, data: bytes, requests: list[Request]) -> None:
        unread: bytes | bytearray = data
        if self._rest:
            self._rest += data
            unread = self._rest
        start = 0 if self._depth else _past(_TO_VALUE, unread, 0)
        while start < len(unread) and (end := self._end(unread, start)):
            self._check_size(end - start)
            requests += decode_requests(unread[start:end])
            self._parsed = 0
            start = _past(_TO_VALUE, unread, end)
        self._keep(unread, start)

    def _keep(self, unread: bytes | bytearray, start: int) -> None:
        """Keep what is unfinished, unless it is broken already.

        What is large is parsed again when there is twice as much of it: all in all at most twice what comes.
        """
        size = len(unread) - start
        self._check_size(size)
        self._looked -= start
        if unread is self._rest:
            del self._rest[:start]
        else:
            self._rest += unread[start:]
        if size and (size <= _SMALL or size >= 2 * self._parsed):
            _parse(self._rest, unfinished=True)
            self._parsed = size

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            reason = f"an object of more than {self._max_bytes} bytes; that is the most one may have"
            raise CallError(ErrorCode.MESSAGE_TOO_LARGE, reason)

    def _end(self, unread: bytes | bytearray, start: int) -> int:
        """Return where the value that begins at ``start`` ends; 0 if its end is not there yet."""
        if not self._depth:
            if whole := _VALUE.match(unread, start):
                return whole.end()
            if unread[start] not in b"[{":
                shown = unread[start : start + _SHOWN].decode(errors="replace")
                raise _malformed(f"broken JSON: an object begins with {{, not with {shown!r}")
            self._depth = 1
            self._looked = start + 1
        return self._look_on(unread)

    def _look_on(self, unread: bytes | bytearray) -> int:
        at, depth = self._looked, self._depth
        while depth and at < len(unread):
            if self._in_text:
                at = _past(_TO_QUOTE, unread, at)
                if unread[at : at + 1] != b'"':
                    break  # nothing more, or a backslash without what belongs to it
                at += 1
                self._in_text = False
            if found := _TO_BRACKET.match(unread, at):
                at = found.end()
                match found.lastgroup:
                    case "open" if depth == _MAX_DEPTH:
                        raise _malformed(f"broken JSON: nested in more than {_MAX_DEPTH} brackets")
                    case "open":
                        depth += 1
                    case "close":
                        depth -= 1
                    case "quote":
                        self._in_text = True
        self._looked, self._depth = at, depth
        return 0 if depth else at


def _past(pattern: re.Pattern[bytes], unread: bytes | bytearray, at: int) -> int:
    """Return where what the pattern matches ends; it matches nothing at all too."""
    found = pattern.match(unread, at)
    return found.end() if found else at


def _malformed(reason: str) -> CallError:
    return CallError(ErrorCode.MALFORMED, reason)
