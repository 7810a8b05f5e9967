"""The payload of a message: a header with its author and number, padded to the size asked for."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from bcast_grpc.events import Request
from bcast_grpc.wire.protobuf import MAX_REQUEST_BYTES, encode_request

HEADER = Struct("<IIQq")
"""The run, the sender's number, its message's number from 0 on, and when it was due.

Times are of ``time.monotonic_ns()``, which is one clock for all processes of a machine.
"""

MIN_SIZE = HEADER.size
"""Bytes of the smallest payload."""

_LONGEST_ID = "9" * 20


def request_bytes(size: int) -> int:
    """How long a request with a payload of ``size`` bytes is in a frame, at most."""
    return len(encode_request(Request(data=bytes(size), id=_LONGEST_ID)))


MAX_SIZE = MAX_REQUEST_BYTES - (request_bytes(MAX_REQUEST_BYTES) - MAX_REQUEST_BYTES)
"""Bytes of the largest payload that any server takes; most take less."""


class Frames:
    """Makes the frames of one sender.

    All requests of a frame are alike but for their headers. So what stands between two headers is encoded once, and a
    frame is a join.
    """

    def __init__(self, run: int, sender: int, size: int) -> None:
        self._run = run
        self._sender = sender
        self._padding = bytes(size - HEADER.size)
        mark = bytes(range(1, HEADER.size + 1))
        self._before, _, self._after = encode_request(Request(data=mark + self._padding)).partition(mark)

    def frame(self, first: int, times_ns: Sequence[int]) -> bytes:
        """Encode messages from number ``first`` on, one for each time; the last asks for an ack, by its number."""
        pack, run, sender = HEADER.pack, self._run, self._sender
        *headers, last = [pack(run, sender, number, at) for number, at in enumerate(times_ns, first)]
        asking = encode_request(Request(data=last + self._padding, id=str(first + len(headers))))
        if not headers:
            return asking
        between = self._after + self._before
        return b"".join((self._before, between.join(headers), self._after, asking))
