"""What the bench needs to know of a frame of events.

The clients of a room receive the same bytes, except for their own messages and acks. So each distinct frame is decoded
once, and verifying it for another client costs one comparison for each sender in it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from bcast_grpc.bench.payload import HEADER
from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.wire.protobuf import parse_events

_SAMPLES = 4
_KEY_BYTES = 64
_MAX_BYTES = 32 * 1024 * 1024


class Span(NamedTuple):
    """Messages of one sender with the numbers from ``first`` to just before ``stop``."""

    sender: int
    first: int
    stop: int


class Sample(NamedTuple):
    """This many messages were sent at this time or later."""

    sent_ns: int
    messages: int


class Summary(NamedTuple):
    """The content of a frame.

    Attributes:
        spans: the messages; those of one sender are in the order of arrival.
        messages: how many messages there are.
        foreign: how many messages are not of this run.
        samples: at most four, each for a quarter of the messages, with the time of its oldest.
        answers: acks, errors and the like.
    """

    spans: tuple[Span, ...]
    messages: int
    foreign: int
    samples: tuple[Sample, ...]
    answers: tuple[pb.ConnectResponse, ...]


def summarise(frame: bytes, run: int) -> Summary:
    """Decode a frame.

    Raises:
        MalformedFrame: it does not parse.
    """
    events = parse_events(frame)
    payloads = [event.data for event in events]
    answers: tuple[pb.ConnectResponse, ...] = ()
    foreign = 0
    if min(map(len, payloads)) < HEADER.size:  # checking the kind of every event would cost as much as all the rest
        others = [event for event in events if len(event.data) < HEADER.size]
        answers = tuple(event for event in others if event.kind != pb.EVENT_KIND_MESSAGE)
        foreign = len(others) - len(answers)
        payloads = [payload for payload in payloads if len(payload) >= HEADER.size]
    headers = [HEADER.unpack_from(payload) for payload in payloads]
    ours = [header for header in headers if header[0] == run]
    foreign += len(headers) - len(ours)
    return Summary(_spans(ours), len(ours), foreign, _samples([sent_ns for _, _, _, sent_ns in ours]), answers)


def _spans(headers: Iterable[tuple[int, int, int, int]]) -> tuple[Span, ...]:
    ended: list[Span] = []
    first: dict[int, int] = {}
    stop: dict[int, int] = {}
    for _, sender, number, _ in headers:
        if stop.get(sender) != number:
            if sender in stop:
                ended.append(Span(sender, first[sender], stop[sender]))
            first[sender] = number
        stop[sender] = number + 1
    return (*ended, *(Span(sender, number, stop[sender]) for sender, number in first.items()))


def _samples(times_ns: list[int]) -> tuple[Sample, ...]:
    times_ns.sort()
    edges = [len(times_ns) * part // _SAMPLES for part in range(_SAMPLES + 1)]
    return tuple(Sample(times_ns[a], b - a) for a, b in pairwise(edges) if a < b)


class Summaries:
    """A cache of the summaries of recent frames, bounded in bytes."""

    def __init__(self, run: int, max_bytes: int = _MAX_BYTES) -> None:
        self._run = run
        self._cache: OrderedDict[tuple[int, bytes], tuple[bytes, Summary]] = OrderedDict()
        self._bytes = 0
        self._max_bytes = max_bytes

    def of(self, frame: bytes) -> Summary:
        """Summarise a frame, or return the summary of the same bytes from the cache.

        Raises:
            MalformedFrame: it does not parse.
        """
        # This includes the seq and time of the first event. Below, comparing all bytes is faster than hashing them.
        key = len(frame), frame[:_KEY_BYTES]
        cached = self._cache.get(key)
        if cached and cached[0] == frame:
            return cached[1]
        summary = summarise(frame, self._run)
        if cached is None:
            self._bytes += len(frame)
        self._cache[key] = frame, summary
        while self._bytes > self._max_bytes:
            (size, _), _ = self._cache.popitem(last=False)
            self._bytes -= size
        return summary
