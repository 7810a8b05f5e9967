"""The contract's requests in JSON.

A TCP client sends objects with nothing between them that marks where one ends, so ``RequestReader`` looks for the ends:
the brackets outside of texts. Regular expressions that never backtrack find them, so each byte is read a fixed number
of times, however the stream is cut. The parser reads what stands between the brackets.

The parser makes an object of each value, so the values of a large text are counted first.

This module is long, since counting, finding ends and cutting share the regular expressions and their traps.
"""

from __future__ import annotations

import re
import sys
from binascii import a2b_base64
from collections.abc import Iterator
from copy import copy
from typing import TypeAlias

from pydantic_core import from_json

from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Request
from bcast_grpc.wire.fields import MalformedFrame as MalformedFrame
from bcast_grpc.wire.protobuf_requests import MAX_REQUEST_BYTES as MAX_REQUEST_BYTES
from bcast_grpc.wire.protobuf_requests import MAX_REQUESTS, TOO_MANY

Object: TypeAlias = dict[str, object]

_SLICE = 64
_NESTED = "batch: a batch cannot contain a batch; put all requests into one list"


class _BrokenJson(MalformedFrame):
    """What the parser refuses."""


def decode_requests(frame: bytes | bytearray | str) -> list[Request]:
    """Decode one JSON value into its requests, in order. What is wrong with one of them is its ``fault``.

    Raises:
        MalformedFrame: it is no JSON, text that is not UTF-8 included; or it holds more than ``MAX_REQUESTS``.
    """
    return [request for requests in read_requests(frame) for request in requests]


def read_requests(frame: bytes | bytearray | str) -> Iterator[list[Request]]:
    """Decode one JSON value into its requests, a slice at a time.

    Raises:
        MalformedFrame: see ``decode_requests``.
    """
    if len(frame) > _COUNTED:
        yield from _pauses(_count_values(frame))
    value = _parse(frame)
    del frame
    if type(value) is list:
        items, within_batch = value, True
    elif type(value) is dict and type(batch := value.get("batch")) is list and batch:
        items, within_batch = batch, True
    else:
        items, within_batch = [value], False
    if len(items) > MAX_REQUESTS:
        raise MalformedFrame(TOO_MANY)
    del value
    for start in range(0, len(items), _SLICE):
        yield [_request(item, within_batch=within_batch) for item in items[start : start + _SLICE]]


def _parse(text: bytes | bytearray | str, *, unfinished: bool = False) -> object:
    """Parse JSON, or what is there of an unfinished value."""
    try:
        return from_json(text, allow_inf_nan=False, cache_strings="keys", allow_partial=unfinished)
    except ValueError as error:
        raise _BrokenJson(f"invalid JSON: {error}") from None
    except TypeError:
        raise _BrokenJson("invalid JSON: a text contains half of a surrogate pair") from None


def _pauses(steps: Iterator[None]) -> Iterator[list[Request]]:
    """Take steps; an empty slice is a pause between them."""
    for _ in steps:
        yield []


def _count_values(text: bytes | bytearray | str) -> Iterator[None]:
    """Refuse more values than a frame may hold, before there is an object for each of them; with pauses.

    Raises:
        MalformedFrame: there are more.
    """
    if isinstance(text, str):
        text = text.encode(errors="surrogatepass")
    values = at = 0
    while at < len(text) and values <= _MAX_VALUES:
        values += sum([text.count(mark, at, at + _WINDOW) for mark in _MARKS])
        at += _WINDOW
        yield
    if values <= _MAX_VALUES:
        return
    values = 0  # some of these marks may be within texts
    for some in _count_outside_texts(text):
        values += some
        if values > _MAX_VALUES:
            _parse(text[:_COUNTED], unfinished=True)  # it may be broken from the beginning
            raise MalformedFrame(f"more than {_MAX_VALUES} values in one frame, for at most {MAX_REQUESTS} requests")
        yield


def _count_outside_texts(text: bytes | bytearray) -> Iterator[int]:
    """Count the marks that are within no text, a window at a time."""
    at = 0
    in_text = False
    while at < len(text):
        end = at + _STEP
        count = 0
        if in_text:
            at = _past(_TO_QUOTE, text, at, end)
            if text[at : at + 1] == b'"':
                at += 1
                in_text = False
            elif at + 1 >= len(text):
                return  # at most a backslash without what belongs to it
        else:
            while found := _TO_MARK.match(text, at, end):
                at = found.end()
                count += 1
            if found := _TO_OPEN_TEXT.match(text, at, end):
                at = found.end()
                in_text = found.lastgroup == "open"
        yield count


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
        raise _Misfit("data: is not valid base64") from None


def _from_base64(text: str) -> bytes:
    """Decode either alphabet, padded or not."""
    body = text.rstrip("=")
    padded = body + "=" * (-len(body) % 4)
    if text not in (body, padded):
        raise ValueError("padded too much, or too little")
    return a2b_base64(padded.replace("-", "+").replace("_", "/"), strict_mode=True)


def _misfit(key: str, right: str, wrong: object) -> str:
    return f"{key}: must be {right}, not {_name(wrong)}"


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
_SMALL = 1024  # typed by a person, or sent by a broken client: its faults are reported at once
_SHOWN = 24

_COUNTED = 4096
_WINDOW = 65_536
_STEP = 4096
_MARKS = b",[{"
_MAX_VALUES = 5 * MAX_REQUESTS  # a request is an object with four keys

# A repetition with "+" gives nothing back, so there is one way to match, or none.
_IN_TEXT = rb'[^"\\]*+(?:\\.[^"\\]*+)*+'
_NO_TEXT = rb'[^"]*+'
_FILLING = rb'[^"\[\]{}]*+(?:"' + _IN_TEXT + rb'"[^"\[\]{}]*+)*+'  # no bracket, and no text that does not end


def _filling(levels: int) -> bytes:
    """The pattern of what may stand between brackets, whole lists and objects of so many levels included."""
    if not levels:
        return _FILLING
    return _FILLING + rb"(?:[\[{]" + _filling(levels - 1) + rb"[\]}]" + _FILLING + rb")*+"


_TO_VALUE = re.compile(rb"[ \t\r\n]*+")
_VALUE = re.compile(rb"[\[{]" + _filling(_LEVELS) + rb"[\]}]", re.DOTALL)
_TO_BRACKET = re.compile(_filling(_LEVELS) + rb'(?:(?P<open>[\[{])|(?P<close>[\]}])|(?P<quote>"))?+', re.DOTALL)
_TO_MARK = re.compile(rb'[^",\[{]*+(?:"' + _IN_TEXT + rb'"[^",\[{]*+)*+[,\[{]', re.DOTALL)
_TO_OPEN_TEXT = re.compile(_NO_TEXT + rb'(?:"' + _IN_TEXT + rb'"' + _NO_TEXT + rb')*+(?P<open>")?+', re.DOTALL)
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
        self._parsed = 0  # how much of it is known to be no invalid JSON

    def feed(self, data: bytes) -> list[Request]:
        """Read the next bytes of the stream, wherever they were cut.

        Cost: linear in the bytes of the stream; it holds ``max_bytes`` and one segment at most.

        Returns:
            The requests that are complete now, in order; those before a ``fault`` too.
        """
        return [request for requests in self.read(data) for request in requests]

    def read(self, data: bytes) -> Iterator[list[Request]]:
        """Read the next bytes as ``feed`` does, a slice of the requests at a time. All slices are to be taken."""
        if self.fault is None:
            try:
                yield from self._read(self._without_mark(data))
            except CallError as fault:
                self._fail(copy(fault))  # what was raised knows its frames, which know this
            except MalformedFrame as fault:
                self._fail(_malformed(f"{fault} of the object" if isinstance(fault, _BrokenJson) else str(fault)))

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

    def _read(self, data: bytes) -> Iterator[list[Request]]:
        unread: bytes | bytearray = data
        if self._rest:
            self._rest += data
            unread = self._rest
        requests: list[Request] = []
        start = 0 if self._depth else _past(_TO_VALUE, unread, 0)
        try:
            while start < len(unread) and (end := self._end(unread, start)):
                self._check_size(end - start)
                for some in read_requests(unread[start:end]):
                    requests += some
                    if len(requests) >= _SLICE:
                        yield requests
                        requests = []
                self._parsed = 0
                start = _past(_TO_VALUE, unread, end)
            yield from _pauses(self._keep(unread, start))
        except (CallError, MalformedFrame):
            yield requests
            raise
        yield requests

    def _keep(self, unread: bytes | bytearray, start: int) -> Iterator[None]:
        """Keep what is unfinished, unless it is broken already; with pauses.

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
            if size > _COUNTED:
                yield from _count_values(bytes(self._rest))
            _parse(self._rest, unfinished=True)
            self._parsed = size

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            reason = f"an object is larger than {self._max_bytes} bytes, the maximum"
            raise CallError(ErrorCode.MESSAGE_TOO_LARGE, reason)

    def _end(self, unread: bytes | bytearray, start: int) -> int:
        """Return where the value that begins at ``start`` ends; 0 if its end is not there yet."""
        if not self._depth:
            if whole := _VALUE.match(unread, start):
                return whole.end()
            if unread[start] not in b"[{":
                shown = unread[start : start + _SHOWN].decode(errors="replace")
                raise _malformed(f"invalid JSON: an object must begin with {{, not with {shown!r}")
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
                        raise _malformed(f"invalid JSON: nested in more than {_MAX_DEPTH} brackets")
                    case "open":
                        depth += 1
                    case "close":
                        depth -= 1
                    case "quote":
                        self._in_text = True
        self._looked, self._depth = at, depth
        return 0 if depth else at


def _past(pattern: re.Pattern[bytes], unread: bytes | bytearray, at: int, end: int = sys.maxsize) -> int:
    """Return where what the pattern matches ends, at most at ``end``; it matches nothing at all too."""
    found = pattern.match(unread, at, end)
    return found.end() if found else at


def _malformed(reason: str) -> CallError:
    return CallError(ErrorCode.MALFORMED, reason)


# --- frames of events, for a client that takes little at once


def split_lines(frame: bytes, max_bytes: int) -> Iterator[bytes]:
    """Cut lines into frames of at most ``max_bytes``, one of a single longer line apart."""
    begin = 0
    while begin < len(frame):
        end = frame.rfind(b"\n", begin, begin + max_bytes) + 1 or frame.find(b"\n", begin) + 1 or len(frame)
        yield frame[begin:end]
        begin = end


def split_arrays(frame: bytes, max_bytes: int) -> Iterator[bytes]:
    """Cut joined pieces of ``encode_arrays`` into such of at most ``max_bytes``, one of a single larger event apart."""
    begin = end = 0
    while end < len(frame) and (event := _VALUE.match(frame, end + 1)):
        if event.end() - begin > max_bytes and end > begin:
            yield frame[begin:end]
            begin = end
        end = event.end()
    yield frame[begin:]
