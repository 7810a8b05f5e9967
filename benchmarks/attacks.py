"""What floods a server of HTTP/2, as bytes: the attacks that have a number, and what else makes work for nothing."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice, repeat

from bcast_grpc.http2 import ErrorCode
from bcast_grpc.http2 import frames as wire
from bcast_grpc.http2.sending import INITIAL_WINDOW_SIZE
from bcast_grpc.http2.states import Kind
from benchmarks.attacker import (
    CONNECT,
    CONNECT_BLOCK,
    GREETING,
    OPEN_WINDOWS,
    PING,
    PUBLISH,
    Attacker,
    block,
    data,
    message,
    request,
)

MIB = 2**20
AT_ONCE = 100
"""Frames, or streams, of a chunk."""


@dataclass(frozen=True)
class Attack:
    """A connection that floods.

    Attributes:
        chunks: makes what it sends, one after the other, for ever or not.
        code: what the server has to end the connection with; None where that is not due.
        reads: whether it reads what the server sends.
        greeting: what it begins with.
        done: whether the server has done what it was asked for.
    """

    chunks: Callable[[], Iterator[bytes]]
    code: int | None = ErrorCode.ENHANCE_YOUR_CALM
    reads: bool = True
    greeting: bytes = GREETING
    done: Callable[[Attacker], bool] = lambda _: True


def each(*makes: Callable[[int], bytes], at_once: int = AT_ONCE) -> Callable[[], Iterator[bytes]]:
    """Send what these make of a stream's number, on one stream after the other."""

    def chunks() -> Iterator[bytes]:
        for begin in count(1, 2 * at_once):
            numbers = range(begin, begin + 2 * at_once, 2)
            yield b"".join(make(number) for number in numbers for make in makes)

    return chunks


def again(frame: bytes, opening: bytes = b"", at_once: int = AT_ONCE) -> Callable[[], Iterator[bytes]]:
    """Send the same again and again."""

    def chunks() -> Iterator[bytes]:
        yield opening
        yield from repeat(frame * at_once)

    return chunks


def once(*frames: bytes) -> Callable[[], Iterator[bytes]]:
    """Send these, and nothing more."""
    return lambda: iter(frames)


def open_streams(number: int, fields: bytes = CONNECT_BLOCK) -> Iterator[bytes]:
    """Open so many streams."""
    return islice(each(lambda stream: request(stream, fields))(), number // AT_ONCE)


def windows_of_many_streams() -> Iterator[bytes]:
    """Open streams, and then change the window of all of them again and again."""
    yield from open_streams(MANY)
    for size in count():
        yield wire.settings_frame({INITIAL_WINDOW_SIZE: size % 2 * 60_000})


def watch(number: int) -> bytes:
    """Ask for the health, and be told of its changes for ever."""
    return request(number, block("/grpc.health.v1.Health/Watch")) + data(number, message(b""), wire.END_STREAM)


def half_messages() -> Iterator[bytes]:
    """Begin a large message on each of many streams."""
    half = message(bytes(4 * MIB))[: 16 * 1024]
    return islice(each(request, lambda stream: data(stream, half), at_once=20)(), MANY // 20)


def bombs(bomb: bytes, path: str = CONNECT) -> Attack:
    """Send a small message that is large once it is unpacked, on each of many streams."""
    fields = block(path, ("grpc-encoding", "gzip"), ("bcast-room", "bombs"))
    frames = (
        lambda stream: request(stream, fields),
        lambda stream: data(stream, message(bomb, packed=True), wire.END_STREAM),
    )

    def chunks() -> Iterator[bytes]:
        return islice(each(*frames, at_once=5)(), BOMBS // 5)

    return Attack(chunks, None, done=lambda attacker: len(attacker.ended) >= BOMBS)


MANY, BOMBS, CALLS = 5000, 60, 4000
_ZEROS = gzip.compress(bytes(4 * MIB - 1))
_TOO_LARGE = gzip.compress(bytes(16 * MIB))
_REAL = gzip.compress(b"\x1a\xfb\xff\xff\x01" + bytes(4 * MIB - 5))  # one field, data, of four megabytes
_BOMB = b"\x40\x01a\x7f\xa1\x1e" + b"b" * 4000  # a field of 4000 bytes, put into the table
_PUBLISH = block(PUBLISH)
_UNKNOWN = block("/no.such/Method")
_EMPTY_NAMES = CONNECT_BLOCK + b"\x00\x00\x00" * 40  # with more, a busy server reads fewer than it allows
_UNFINISHED = wire.frame(Kind.HEADERS, 0, 1, CONNECT_BLOCK)


def calls(make: Callable[[int], bytes]) -> Attack:
    """Make calls that end at once."""
    chunks = each(make)
    return Attack(lambda: islice(chunks(), CALLS // AT_ONCE), None, done=lambda attacker: len(attacker.ended) >= CALLS)


def request_unknown(number: int) -> bytes:
    """Call a method that does not exist."""
    return request(number, _UNKNOWN, ended=True)


def _reset(stream: int) -> bytes:
    return wire.rst_stream(stream, ErrorCode.CANCEL)


CUT_OFF: Mapping[str, Attack] = {
    "rapid reset (CVE-2023-44487)": Attack(each(request, _reset)),
    "MadeYouReset by a window of 0 (CVE-2025-8671)": Attack(each(request, lambda n: wire.window_update(n, 0))),
    "MadeYouReset by a window too large": Attack(each(request, lambda n: wire.window_update(n, 2**31 - 1))),
    "MadeYouReset by DATA after the end": Attack(each(watch, lambda n: data(n, b"x"))),
    "MadeYouReset by a short PRIORITY": Attack(each(request, lambda n: wire.frame(Kind.PRIORITY, 0, n, b"x"))),
    "MadeYouReset by HEADERS in the middle": Attack(each(request, request)),
    "reset flood (CVE-2019-9514)": Attack(each(lambda n: request(n, b"\x82"))),
    "ping flood (CVE-2019-9512)": Attack(again(PING)),
    "ping flood, unread": Attack(again(PING), reads=False),
    "resource loop (CVE-2019-9513)": Attack(again(wire.frame(Kind.PRIORITY, 0, 3, bytes(5)))),
    "settings flood (CVE-2019-9515)": Attack(again(wire.settings_frame({4: 1}))),
    "settings flood, unread": Attack(again(wire.settings_frame({4: 1})), reads=False),
    "names of no bytes (CVE-2019-9516)": Attack(each(lambda n: request(n, _EMPTY_NAMES))),
    "empty DATA (CVE-2019-9518)": Attack(again(data(1, b""), request(1))),
    "padding only": Attack(again(data(1, b"\xff" + bytes(255), wire.PADDED), request(1))),
    "empty CONTINUATION (CVE-2024-27316)": Attack(again(wire.frame(Kind.CONTINUATION, 0, 1), _UNFINISHED)),
    "long CONTINUATION": Attack(again(wire.frame(Kind.CONTINUATION, 0, 1, bytes(16_384)), _UNFINISHED)),
    "frames of an unknown kind": Attack(again(wire.frame(99, 0, 0))),
    "windows by 1 byte": Attack(again(wire.window_update(0, 1))),
    "windows of a stream by 1 byte": Attack(again(wire.window_update(1, 1), request(1))),
    "windows of many streams": Attack(windows_of_many_streams),
    "more streams than allowed": Attack(each(request)),
    "HPACK bomb": Attack(
        once(request(1, CONNECT_BLOCK + _BOMB), *repeat(request(3, CONNECT_BLOCK + b"\xbe" * 16_000), 3)),
        greeting=wire.PREFACE + wire.settings_frame({}),  # as long as it acknowledges nothing it has a table
    ),
    "HPACK bomb without a table": Attack(
        once(request(1, CONNECT_BLOCK + _BOMB), request(3, CONNECT_BLOCK + b"\xbe" * 16_000)),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "HPACK size updates": Attack(once(request(1, b"\x20" * 16_000 + CONNECT_BLOCK)), ErrorCode.COMPRESSION_ERROR),
    "window overflow": Attack(once(wire.window_update(0, 2**31 - 1)), ErrorCode.FLOW_CONTROL_ERROR),
    "initial window overflow": Attack(once(wire.settings_frame({4: 2**31})), ErrorCode.FLOW_CONTROL_ERROR),
}
"""Those that are over once the server has ended the connection."""

HEEDLESS = Attack(
    lambda: islice(each(lambda n: request(n) + data(n, message(bytes(4 * MIB))[:60_000]), at_once=20)(), 100),
    ErrorCode.FLOW_CONTROL_ERROR,
)
"""One that does not look at the windows. A fast server opens them in time, and then it has done nothing wrong."""

WORK: Mapping[str, Attack] = {
    "DATA by 1 byte (CVE-2019-9511)": Attack(lambda: islice(again(data(1, b"\0"), request(1), 1000)(), 300), None),
    "calls of unknown methods": calls(request_unknown),
    "calls that end at once": calls(lambda n: request(n, ended=True)),
    "publishes without a message": calls(lambda n: request(n, _PUBLISH, ended=True)),
    "clients by the thousand": Attack(
        lambda: open_streams(MANY), None, done=lambda attacker: len(attacker.answered | attacker.ended) >= MANY
    ),
    "half messages": Attack(half_messages, None),
    "gzip bombs": bombs(_TOO_LARGE),
    "gzip of zeros": bombs(_ZEROS),
    "gzip of what is valid": bombs(_REAL),
    "gzip bombs, published": bombs(_TOO_LARGE, PUBLISH),
    "gzip of what is valid, published": bombs(_REAL, PUBLISH),
}
"""Those that may go on: what they make the server do is work that it has to share fairly."""


def questions(fields: bytes, question: bytes) -> Attack:
    """Ask on some streams as often as their windows allow."""
    asked = message(question) * (50_000 // (len(question) + 5))
    frames = lambda n: request(n, fields), lambda n: data(n, asked)
    return Attack(lambda: islice(each(*frames, at_once=1)(), 18), None, reads=False, greeting=OPEN_WINDOWS)


UNREAD: Mapping[str, Attack] = {
    "answers unread (CVE-2019-9517)": questions(CONNECT_BLOCK, b"\x0a\x03who"),
    "reflection unread": questions(block("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"), b"\x3a\0"),
    "unknown methods, unread": Attack(each(request_unknown), None, reads=False, greeting=OPEN_WINDOWS),
}
"""Those that do not read what they ask for: the server stops reading from them."""
