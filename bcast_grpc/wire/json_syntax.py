"""Finds where JSON values end, and counts them, without making an object from each.

Regular expressions that never backtrack look for the marks outside of texts, so each byte is read a fixed number of
times, however the stream is cut. What is a whole value, the parser reads.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from pydantic_core import from_json

from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.wire.fields import MalformedFrame
from bcast_grpc.wire.protobuf_requests import MAX_REQUESTS

COUNTED = 4096
"""Texts larger than this are counted before they are parsed."""

_WINDOW = 65_536
_STEP = 4096
_MARKS = b",[{"
_MAX_VALUES = 5 * MAX_REQUESTS  # a request is an object with four keys

_MAX_DEPTH = 201  # what the parser takes
_LEVELS = 3  # what is nested deeper within a value, or has no end yet, is looked at bracket by bracket
_SHOWN = 24

# A repetition with "+" gives nothing back, so there is one way to match, or none.
_IN_TEXT = rb'[^"\\]*+(?:\\.[^"\\]*+)*+'
_NO_TEXT = rb'[^"]*+'
_FILLING = rb'[^"\[\]{}]*+(?:"' + _IN_TEXT + rb'"[^"\[\]{}]*+)*+'  # no bracket, and no text that does not end


def _filling(levels: int) -> bytes:
    """The pattern of what may stand between brackets, whole lists and objects of so many levels included."""
    if not levels:
        return _FILLING
    return _FILLING + rb"(?:[\[{]" + _filling(levels - 1) + rb"[\]}]" + _FILLING + rb")*+"


TO_VALUE = re.compile(rb"[ \t\r\n]*+")
VALUE = re.compile(rb"[\[{]" + _filling(_LEVELS) + rb"[\]}]", re.DOTALL)
_TO_BRACKET = re.compile(_filling(_LEVELS) + rb'(?:(?P<open>[\[{])|(?P<close>[\]}])|(?P<quote>"))?+', re.DOTALL)
_TO_MARK = re.compile(rb'[^",\[{]*+(?:"' + _IN_TEXT + rb'"[^",\[{]*+)*+[,\[{]', re.DOTALL)
_TO_OPEN_TEXT = re.compile(_NO_TEXT + rb'(?:"' + _IN_TEXT + rb'"' + _NO_TEXT + rb')*+(?P<open>")?+', re.DOTALL)
_TO_QUOTE = re.compile(_IN_TEXT, re.DOTALL)


class BrokenJson(MalformedFrame):
    """A text is not valid JSON."""


def malformed(reason: str) -> CallError:
    """Return the error that ends a call whose JSON cannot be read."""
    return CallError(ErrorCode.MALFORMED, reason)


def past(pattern: re.Pattern[bytes], unread: bytes | bytearray, at: int, end: int = sys.maxsize) -> int:
    """Return where a match at ``at`` ends, at most at ``end``; ``at`` itself where nothing matches."""
    found = pattern.match(unread, at, end)
    return found.end() if found else at


def parse(text: bytes | bytearray | str, *, unfinished: bool = False) -> object:
    """Parse JSON, or the beginning of an unfinished value.

    Raises:
        BrokenJson: it is no JSON, or the beginning of none.
    """
    try:
        return from_json(text, allow_inf_nan=False, cache_strings="keys", allow_partial=unfinished)
    except ValueError as error:
        raise BrokenJson(f"invalid JSON: {error}") from None
    except TypeError:
        raise BrokenJson("invalid JSON: a text contains half of a surrogate pair") from None


def count_values(text: bytes | bytearray | str) -> Iterator[None]:
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
            parse(text[:COUNTED], unfinished=True)  # it may be broken from the beginning
            raise MalformedFrame(f"more than {_MAX_VALUES} values in one frame, for at most {MAX_REQUESTS} requests")
        yield


def _count_outside_texts(text: bytes | bytearray) -> Iterator[int]:
    """Count the marks outside of strings, a window at a time."""
    at = 0
    in_text = False
    while at < len(text):
        end = at + _STEP
        count = 0
        if in_text:
            at = past(_TO_QUOTE, text, at, end)
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


class EndFinder:
    """Finds where the values of a byte stream end, as the stream comes in."""

    def __init__(self) -> None:
        self._looked = 0  # how far the end was looked for,
        self._depth = 0  # how many brackets are open there,
        self._in_text = False  # and whether it is within a text

    @property
    def within(self) -> bool:
        """Whether a value has begun and its end has not been found."""
        return self._depth > 0

    def forget(self, size: int) -> None:
        """Note that so many bytes were removed from the beginning of what is unread."""
        self._looked -= size

    def find(self, unread: bytes | bytearray, start: int) -> int:
        """Return where the value that begins at ``start`` ends; 0 if its end is not there yet.

        Raises:
            CallError: nothing of the contract begins there, or it is nested too deeply.
        """
        if not self._depth:
            if whole := VALUE.match(unread, start):
                return whole.end()
            if unread[start] not in b"[{":
                shown = unread[start : start + _SHOWN].decode(errors="replace")
                raise malformed(f"invalid JSON: an object must begin with {{, not with {shown!r}")
            self._depth = 1
            self._looked = start + 1
        return self._look_on(unread)

    def _look_on(self, unread: bytes | bytearray) -> int:
        at, depth = self._looked, self._depth
        while depth and at < len(unread):
            if self._in_text:
                at = past(_TO_QUOTE, unread, at)
                if unread[at : at + 1] != b'"':
                    break  # nothing more, or a backslash without what belongs to it
                at += 1
                self._in_text = False
            if found := _TO_BRACKET.match(unread, at):
                at = found.end()
                match found.lastgroup:
                    case "open" if depth == _MAX_DEPTH:
                        raise malformed(f"invalid JSON: nested in more than {_MAX_DEPTH} brackets")
                    case "open":
                        depth += 1
                    case "close":
                        depth -= 1
                    case "quote":
                        self._in_text = True
        self._looked, self._depth = at, depth
        return 0 if depth else at
