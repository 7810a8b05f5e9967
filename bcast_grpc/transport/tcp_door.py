"""The TCP door: JSON objects over a plain socket."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from copy import copy
from functools import partial
from typing import cast

from bcast_grpc.core import notices
from bcast_grpc.core.batch import Encoder
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.identity import Caller
from bcast_grpc.errors import CallError
from bcast_grpc.events import Request
from bcast_grpc.transport.address import Address
from bcast_grpc.transport.connections import peer_of, port_of
from bcast_grpc.transport.door import Door, Shared
from bcast_grpc.transport.ending import ConnectionGone, ending
from bcast_grpc.transport.first_request import FirstRequest, admit
from bcast_grpc.transport.lingering import Linger, limited, taken
from bcast_grpc.transport.listeners import Listeners
from bcast_grpc.transport.serving import Serving
from bcast_grpc.transport.stream import Stream, resolve
from bcast_grpc.transport.tcp_info import acked
from bcast_grpc.transport.tls.peer import subject_of
from bcast_grpc.wire import json_events, json_stream

_LINES = Encoder(json_events.encode_lines, json_events.MAX_BATCH_BYTES, json_events.split_lines)
_SEGMENT_BYTES = 16 * 1024
_DROP_S = 0.005  # between two portions of what a client sends after its stream's end


class TcpDoor(Door):
    """Serves TCP connections. Each is in the room ``lobby`` from the accept on, without a name.

    Args:
        shared: what all doors share.
        address: where to listen.
    """

    def __init__(self, shared: Shared, address: Address) -> None:
        self._shared = shared
        self._listeners = Listeners(shared, address)
        self._serving = Serving()

    async def open(self) -> Sequence[str]:
        """Listen."""
        return [await self._listeners.open("tcp", lambda: _Connection(self._shared, self._serving))]

    async def stop(self, grace_s: float) -> None:
        """Accept nobody more, and disconnect those that are still connected after ``grace_s``."""
        self._listeners.close()
        await self._serving.end(grace_s)


class _Connection(asyncio.Protocol):
    """One client's connection: the line of its stream. Its one task lasts as long as it does, and waits for its end."""

    __slots__ = (
        "_eof",
        "_first",
        "_loop",
        "_over",
        "_paused",
        "_peer",
        "_ready",
        "_requests",
        "_serving",
        "_shared",
        "_stream",
        "_transport",
        "_unread",
        "_woken",
        "_writing",
    )

    _transport: asyncio.Transport
    _peer: str

    def __init__(self, shared: Shared, serving: Serving) -> None:
        self._shared = shared
        self._serving = serving
        self._loop = asyncio.get_running_loop()
        self._requests = json_stream.RequestReader()
        self._stream: Stream | None = None
        self._unread = b""
        self._first: FirstRequest | None = None  # where it has to present a token
        self._ready = True  # for the next segment
        self._eof: asyncio.Future[None] = self._loop.create_future()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._woken = False
        self._paused = False  # there is no room to write
        self._writing = False  # something was taken, and there is no room for more yet

    # --- what the loop says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve the client."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, but not by its class
        self._peer = peer_of(transport)
        self._serving.start(self._serve())

    def data_received(self, data: bytes) -> None:
        """Read on, unless what came before is still being carried out."""
        self._unread += data
        self._read_on()

    def eof_received(self) -> bool:
        """Note that the client has closed its end; it may read for a while."""
        resolve(self._eof, None)
        self._read_on()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """End the client's stream without a word."""
        resolve(self._eof, None)
        self._unread = b""
        if self._stream:
            self._stream.failed(ConnectionGone(str(error or "it disconnected")))

    def pause_writing(self) -> None:
        """Write nothing more for now."""
        self._paused = True

    def resume_writing(self) -> None:
        """Write on."""
        self._paused = False
        self._write()

    # --- what the stream says

    def wake(self) -> None:
        """Write, soon."""
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self._write)

    def write_now(self, piece: bytes) -> bool:
        """Write a piece, if there is room."""
        if self._paused or self._transport.is_closing():
            return False
        try:
            self._transport.write(piece)
        except Exception as raised:  # noqa: BLE001  # it is raised where the stream is served
            self._fail(raised)
        return True

    def ready(self) -> None:
        """Read on."""
        self._ready = True
        self._read_on()

    # --- reading and writing

    def _read_on(self) -> None:
        """Hand over what has come, a segment at a time, and have no more come than can be."""
        stream = self._stream
        dropped = self._over.done() and bool(self._unread)
        if dropped:
            self._unread = b""
        try:
            while self._first and self._first.expected and self._unread:
                self._first.read(self._next_segment())
            if self._first and self._eof.done():
                self._first.fail(ConnectionGone("it disconnected before it presented a token"))
            while stream and self._ready and not self._over.done():
                if self._requests.fault:
                    self._ready = False
                    stream.failed(copy(self._requests.fault))
                elif self._first:
                    first, self._first = self._first, None
                    self._ready = stream.received(first.rest)
                elif self._unread:
                    self._ready = stream.received(self._requests.read(self._next_segment()))
                elif self._eof.done():
                    self._read_end(stream)
                else:
                    break
        except Exception as raised:  # noqa: BLE001  # it is raised where the stream is served
            self._fail(raised)
        if not (self._transport.is_closing() or self._eof.done()):
            if dropped:
                self._transport.pause_reading()  # or uvloop would read megabytes in one go
                self._loop.call_later(_DROP_S, self._read_on)
            elif self._unread:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _next_segment(self) -> bytes:
        segment, self._unread = self._unread[:_SEGMENT_BYTES], self._unread[_SEGMENT_BYTES:]
        return segment

    async def _wait_for_first(self) -> Request:
        self._first = FirstRequest(self._requests)
        self._read_on()
        try:
            return await self._first.arrived
        except BaseException:
            self._first = None  # what was raised knows its frames, which know this
            raise

    def _read_end(self, stream: Stream) -> None:
        self._requests.close()
        if not self._requests.fault:
            self._ready = False
            stream.finished()

    def _write(self) -> None:
        """Write until there is nothing more, or no room."""
        self._woken = False
        stream = self._stream
        try:
            while stream and not self._paused:
                if self._writing:
                    self._writing = False
                    stream.wrote()
                piece = stream.take()
                if piece is None:
                    if stream.over:
                        resolve(self._over, None)
                    break
                self._put(piece)
                self._writing = True
        except Exception as raised:  # noqa: BLE001  # it is raised where the stream is served
            self._fail(raised)

    def _put(self, frame: bytes) -> None:
        if self._transport.is_closing():  # uvloop takes that for a fault of the program's
            raise ConnectionGone("it was lost")
        self._transport.write(frame)

    def _fail(self, raised: Exception) -> None:
        """Have what was raised in a callback end the stream."""
        if not self._over.done():
            self._over.set_exception(raised)

    # --- its life

    async def _serve(self) -> None:
        try:
            await ending(self._converse(), self._peer, OSError)
        finally:
            self._transport.abort()  # what it did not read until now, it never will

    async def _converse(self) -> None:
        liveness = self._shared.keepalive.watch(self._transport)
        try:
            with self._shared.connections.carrying(port_of(self._peer)):
                ended = await ending(self._talk(), self._peer, OSError)
            if not ended.gone:
                await self._end(ended.error)
        finally:
            liveness.stop()

    async def _talk(self) -> None:
        shared = self._shared
        caller = Caller(self._peer, certificate=subject_of(self._transport) or "")
        admission = await admit(shared.hub, Hello(), caller, self._wait_for_first, shared.handshake_s)
        if self._transport.is_closing():
            admission.release()
            raise ConnectionGone("it disconnected before it was admitted")
        with closing(Stream(admission, self._shared.scheduler, _LINES, self)) as stream:
            try:
                self._stream = stream
                self._read_on()
                await stream.serve(self._over, partial(acked, self._transport))
            finally:
                self._stream = None

    async def _end(self, error: CallError | None) -> None:
        """Send what the stream ends with; wait until the client has read everything and has closed its end too.

        A socket that is closed with something unread in it is reset, and what was last written to it is lost.
        """
        resolve(self._over, None)
        if self._transport.is_closing():
            return
        if error:
            for frame, *_ in _LINES.frames([notices.error(error, "")]):
                self._put(frame)
        linger = Linger()
        async with limited(linger, partial(acked, self._transport)):
            linger.begin()
            self._transport.write_eof()  # once all before it is written
            self._read_on()  # what still comes is dropped
            await self._eof
            await taken(self._transport)  # a client that has half-closed still reads
