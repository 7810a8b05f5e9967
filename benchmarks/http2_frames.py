"""What the protocol of HTTP/2 costs without I/O: `python -m benchmarks.http2_frames`."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator

from hpack import Encoder

from bcast_grpc.http2 import Connection, Limits, encode
from bcast_grpc.http2 import frames as wire
from bcast_grpc.http2.events import DataReceived
from bcast_grpc.http2.states import Kind

ROUNDS = 15
CONNECTIONS = 300
LIMITS = Limits()
REQUEST = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/bcast_grpc.v1.Chat/Connect"),
    (":authority", "127.0.0.1:50051"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
    ("user-agent", "grpc-go/1.76.0"),
    ("grpc-accept-encoding", "identity, deflate, gzip"),
    ("bcast-room", "general"),
)
GREETING = wire.PREFACE + wire.settings_frame({}) + wire.frame(Kind.SETTINGS, wire.ACK, 0)
WIDE = wire.window_update(0, 2**30) + wire.window_update(1, 2**30)
DATA = wire.frame(Kind.DATA, 0, 1, bytes(71))
RUN = 700


def hello(name: str, *, huffman: bool) -> bytes:
    """What a client of this name begins with."""
    block = Encoder().encode([*REQUEST, ("bcast-name", name)], huffman=huffman)
    return GREETING + wire.header_frames(1, block, wire.SMALLEST_MAX_FRAME, ended=False)


def take(connection: Connection, data: bytes) -> None:
    """Read what came, and give it back."""
    connection.receive(data)
    while (event := connection.next_event()) is not None:
        if isinstance(event, DataReceived):
            connection.consumed(event.stream_id, event.size)


def begin(first_bytes: bytes) -> Connection:
    """A connection with a request on it."""
    connection = Connection(LIMITS, time.monotonic)
    connection.start()
    take(connection, first_bytes)
    connection.data_to_send()
    return connection


def measured(count: int, prepare: Callable[[], Callable[[], object]]) -> float:
    """Microseconds of CPU that one of ``count`` takes, in the best of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        work = prepare()
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best / count * 1e6


def connecting(*, huffman: bool, many: bool) -> Callable[[], object]:
    """New connections of clients that differ, or do not."""
    first = [hello(f"client-{number if many else 0}", huffman=huffman) for number in range(CONNECTIONS)]
    return lambda: [begin(one) for one in first]


def receiving(segment: bytes, count: int) -> Callable[[], object]:
    """Segments of DATA."""
    connection = begin(hello("ana", huffman=True))

    def work() -> None:
        for _ in range(count):
            take(connection, segment)

    return work


def sending(size: int, *, shared: bool) -> Callable[[], object]:
    """The same bytes to each connection, or others."""
    connections = [begin(hello("ana", huffman=True) + WIDE) for _ in range(CONNECTIONS)]
    payloads = [bytes(size)] * CONNECTIONS if shared else [bytes(size) for _ in connections]
    return lambda: [one.send_data(1, data) for one, data in zip(connections, payloads, strict=True)]


def answering() -> Callable[[], object]:
    """Calls with one message, one after the other, on one connection."""
    connection = begin(GREETING)
    block = Encoder().encode(REQUEST)
    first, last = encode([(":status", "200")]), encode([("grpc-status", "0")])

    def work() -> None:
        for stream_id in range(1, 2 * CONNECTIONS, 2):
            take(connection, wire.header_frames(stream_id, block, wire.SMALLEST_MAX_FRAME, ended=False))
            take(connection, wire.frame(Kind.DATA, wire.END_STREAM, stream_id, bytes(71)))
            connection.send_headers(stream_id, first)
            connection.send_data(stream_id, bytes(20))
            connection.send_headers(stream_id, last, ended=True)
            connection.data_to_send()

    return work


def idle_bytes() -> float:
    """What a connection with a request on it keeps."""
    first = hello("ana", huffman=True)
    begin(first)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = [begin(first) for _ in range(1000)]
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / len(kept)


def rows() -> Iterator[tuple[str, float]]:
    """All that is measured; microseconds."""
    for name, huffman, many in (("", True, True), ("without Huffman codes", False, True), ("the same", True, False)):
        prepare = lambda h=huffman, m=many: connecting(huffman=h, many=m)  # noqa: E731
        yield f"a new connection {name}".strip(), measured(CONNECTIONS, prepare)
    yield "receive a DATA frame of 71 bytes in a run", measured(20 * RUN, lambda: receiving(DATA * RUN, 20))
    yield "receive one alone in its segment", measured(5000, lambda: receiving(DATA, 5000))
    for size in (71, 1 << 10, 16 << 10, 64 << 10):
        yield f"send {size} bytes, shared", measured(CONNECTIONS, lambda s=size: sending(s, shared=True))  # type: ignore[misc]
        yield f"send {size} bytes, not shared", measured(CONNECTIONS, lambda s=size: sending(s, shared=False))  # type: ignore[misc]
    yield "a whole call", measured(CONNECTIONS, answering)


def main() -> None:
    """Measure, and print a table."""
    for name, us in rows():
        print(f"{us:8.2f} µs  {name}")
    print(f"{idle_bytes():8.0f} bytes kept by an idle connection")


if __name__ == "__main__":
    main()
