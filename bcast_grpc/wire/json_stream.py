"""A byte stream of requests in JSON.

A TCP client sends objects with nothing between them that marks where one ends, so the reader looks for the ends: the
brackets outside of texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy

from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Request
from bcast_grpc.wire.fields import MalformedFrame
from bcast_grpc.wire.json_requests import SLICE, pauses, read_requests
from bcast_grpc.wire.json_syntax import COUNTED, TO_VALUE, BrokenJson, EndFinder, count_values, malformed, parse, past
from bcast_grpc.wire.protobuf_requests import MAX_REQUEST_BYTES

_MARK = b"\xef\xbb\xbf"  # what some editors begin a file of UTF-8 with
_SMALL = 1024  # typed by a person, or sent by a broken client: its faults are reported at once


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
        self._ends = EndFinder()
        self._parsed = 0  # how much of it is known to be no invalid JSON

    @property
    def unfinished(self) -> int:
        """How many bytes of an incomplete object are kept."""
        return len(self._rest)

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
                self._fail(malformed(f"{fault} of the object" if isinstance(fault, BrokenJson) else str(fault)))

    def close(self) -> None:
        """Note that the stream has ended; in the middle of an object that is a ``fault``."""
        if self._rest or self._first:
            self._fail(malformed("the stream ended in the middle of an object"))

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
        start = 0 if self._ends.within else past(TO_VALUE, unread, 0)
        try:
            while start < len(unread) and (end := self._ends.find(unread, start)):
                self._check_size(end - start)
                for some in read_requests(unread[start:end]):
                    requests += some
                    if len(requests) >= SLICE:
                        yield requests
                        requests = []
                self._parsed = 0
                start = past(TO_VALUE, unread, end)
            yield from pauses(self._keep(unread, start))
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
        self._ends.forget(start)
        if unread is self._rest:
            del self._rest[:start]
        else:
            self._rest += unread[start:]
        if size and (size <= _SMALL or size >= 2 * self._parsed):
            if size > COUNTED:
                yield from count_values(bytes(self._rest))
            parse(self._rest, unfinished=True)
            self._parsed = size

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            reason = f"an object is larger than {self._max_bytes} bytes, the maximum"
            raise CallError(ErrorCode.MESSAGE_TOO_LARGE, reason)
