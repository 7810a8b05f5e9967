"""A connection of the TCP door: JSON objects over a plain socket."""

from __future__ import annotations

import asyncio
from copy import copy
from functools import partial
from time import perf_counter
from typing import cast

from bcast_grpc.core import notices
from bcast_grpc.core.batch import Encoder
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.identity import Caller
from bcast_grpc.errors import CallError
from bcast_grpc.events import Request
from bcast_grpc.transport.connections import port_of
from bcast_grpc.transport.door import Shared
from bcast_grpc.transport.ending import ConnectionGone, Ending, ended_by, ending
from bcast_grpc.transport.first_request import FirstRequest, admit_with_first
from bcast_grpc.transport.lingering import Linger, limited, taken
from bcast_grpc.transport.liveness import Liveness
from bcast_grpc.transport.serving import Serving
from bcast_grpc.transport.stream import Stream
from bcast_grpc.transport.tcp_info import acked
from bcast_grpc.transport.tls.peer import subject_of
from bcast_grpc.wire import json_events, json_stream

_LINES = Encoder(json_events.encode_lines, json_events.MAX_BATCH_BYTES, json_events.split_lines)
_SEGMENT_BYTES = 16 * 1024
_DROP_S = 0.005  # the pause between two portions of data that are dropped after a stream's end


class Connection(asyncio.Protocol):
    """One client's connection: the line of its stream. It has a task until the client is let in, and at its end.

    Args:
        shared: what all doors share.
        serving: what its door serves.
        peer: the client's address.
    """

    __slots__ = (
        *("_ended", "_eof", "_first", "_liveness", "_long", "_loop", "_over", "_paused", "_peer", "_ready"),
        *("_requests", "_serving", "_shared", "_stream", "_transport", "_unread", "_waits", "_woken"),
    )

    _transport: asyncio.Transport
    _liveness: Liveness

    def __init__(self, shared: Shared, serving: Serving, peer: str) -> None:
        self._peer = peer
        self._shared = shared
        self._serving = serving
        self._loop = asyncio.get_running_loop()
        self._requests = json_stream.RequestReader()
        self._stream: Stream | None = None
        self._unread = b""
        self._first: FirstRequest | None = None  # while the client has to present a token
        self._ready = True  # for the next segment
        self._eof = False  # the client has closed its end
        self._ended: asyncio.Future[None] | None = None  # done when the client has closed its end
        self._over = False  # the client has left its room, or was not let in
        self._woken = False
        self._long = False  # there was something to write the last time, and there may be more
        self._waits = False  # for its turn to write
        self._paused = False  # there is no room to write

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve the client."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class is no subclass of it
        self._liveness = self._shared.keepalive.watch(self._transport)
        self._shared.connections.begin_call(port_of(self._peer))
        self._serving.connections.add(self)
        self._serving.start(self._arrive())

    def data_received(self, data: bytes) -> None:
        """Read on, unless what came before is still being carried out."""
        self._unread += data
        self._read_on()

    def eof_received(self) -> bool:
        """Note that the client has closed its end; it may read for a while."""
        self._note_eof()
        self._read_on()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """End the client's stream; nothing can be sent any more."""
        self._shared.connections.gone(self._peer)
        self._shared.connections.unfinished.forget(self._transport)
        self._note_eof()
        self._unread = b""
        self._leave(ConnectionGone(str(error or "it disconnected")))

    def _note_eof(self) -> None:
        self._eof = True
        if self._ended and not self._ended.done():
            self._ended.set_result(None)

    def pause_writing(self) -> None:
        """Write nothing more for now."""
        self._paused = True

    def resume_writing(self) -> None:
        """Write on."""
        self._paused = False
        self._write()

    # --- called by the stream

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
        except Exception as raised:  # noqa: BLE001  # the stream ends with it, but not in the middle of a flush
            self._loop.call_soon(self._leave, raised)
        return True

    def ready(self) -> None:
        """Read on."""
        self._ready = True
        self._read_on()

    def _read_on(self) -> None:
        """Pass received data to the stream, a segment at a time, and pause reading while it cannot take more."""
        stream = self._stream
        dropped = self._over and bool(self._unread)
        if dropped:
            self._unread = b""
        try:
            while self._first and self._first.expected and self._unread:
                self._first.read(self._next_segment())
            if self._eof and not stream:
                self._leave(ConnectionGone("it disconnected before it presented a token"))
            while stream and self._ready and not self._over:
                if self._requests.fault:
                    self._ready = False
                    stream.failed(copy(self._requests.fault))
                elif self._first:
                    first, self._first = self._first, None
                    self._ready = stream.received(first.rest)
                elif self._unread:
                    self._ready = stream.received(self._requests.read(self._next_segment()))
                elif self._eof:
                    self._requests.close()  # sets a fault if the stream ends in the middle of an object
                    if not self._requests.fault:
                        self._ready = False
                        stream.finished()
                else:
                    break
        except Exception as raised:  # noqa: BLE001  # the stream ends with it
            self._leave(raised)
        self._shared.connections.unfinished.keep(self._transport, self._requests.unfinished)
        if not (self._transport.is_closing() or self._eof):
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
            self._first = None  # breaks the cycle: the exception refers to its frames, and these to this connection
            raise

    def _take_turn(self) -> bool:
        self._waits = False
        self._write(has_turn=True)
        return True

    def _write(self, *, has_turn: bool = False) -> None:
        """Write until there is nothing more, or no room, or others have their turn."""
        self._woken = False
        stream, turns = self._stream, self._shared.scheduler.writes
        left = 2 if has_turn or not self._long else 0  # so many pieces whoever waits: mostly the second is none
        try:
            while stream and not self._paused:
                if turns.scarce and left <= 0:
                    if not self._waits:
                        self._waits = True
                        turns.call(self._peer, self._take_turn)
                    break
                began = perf_counter()
                piece = stream.take()
                self._long = piece is not None
                if piece is None:
                    if stream.over:
                        self._leave(stream.error)
                    break
                self._put(piece)
                left -= 1
                turns.worked(perf_counter() - began)
        except Exception as raised:  # noqa: BLE001  # the stream ends with it
            self._leave(raised)

    def _put(self, frame: bytes) -> None:
        if self._transport.is_closing():  # uvloop would log the write as an error of the program
            raise ConnectionGone("it was lost")
        self._transport.write(frame)

    # --- its life

    async def _arrive(self) -> None:
        """Let the client in, or send it the reason for the refusal."""
        ended: Ending[None] = Ending(gone=True)
        try:
            ended = await ending(self._let_in(), self._peer, OSError, counts=self._shared.hub.counts)
        finally:
            if ended.gone:
                self.finish()
        if ended.error:
            self._be_over()
            await self._end(ended.error)

    async def _let_in(self) -> None:
        shared = self._shared
        caller = Caller(self._peer, certificate=subject_of(self._transport) or "")
        admission = await admit_with_first(shared, Hello(), caller, self._wait_for_first)
        if self._transport.is_closing():
            admission.release()
            raise ConnectionGone("it disconnected before it was admitted")
        stream = self._stream = Stream(admission, shared.scheduler, _LINES, self)
        stream.begin(lambda: self._leave(stream.overdue()), partial(acked, self._transport))
        self._read_on()

    def _leave(self, raised: Exception | None) -> None:
        """Remove the client from its room, and send it the reason, unless the connection is lost."""
        if not self._stream:
            if self._first and raised:
                self._first.fail(raised)
            return
        self._be_over()
        ended: Ending[None] = ended_by(raised, self._peer, OSError) if raised else Ending()
        if ended.gone or self._transport.is_closing():
            self.finish()
        else:
            self._serving.start(self._end(ended.error))

    def _be_over(self) -> None:
        self._over = True
        self._requests = json_stream.RequestReader()  # what it keeps of an incomplete one is not needed any more
        if self._stream:
            self._stream.close()
            self._stream = None
        self._shared.connections.end_call(port_of(self._peer))

    async def _end(self, error: CallError | None) -> None:
        try:
            await ending(self._say_goodbye(error), self._peer, OSError)
        finally:
            self.finish()

    async def _say_goodbye(self, error: CallError | None) -> None:
        """Send the error, if any, and half-close; wait until the client has read everything and closed its end.

        A socket that is closed with something unread in it is reset, and what was last written to it is lost.
        """
        if self._transport.is_closing():
            return
        if error:
            for frame, *_ in _LINES.frames([notices.error(error, "")]):
                self._put(frame)
        linger = Linger()
        async with limited(linger, partial(acked, self._transport)):
            linger.begin()
            self._transport.write_eof()  # takes effect once everything has been written
            self._read_on()  # data that still come are dropped
            if not self._eof:
                self._ended = self._loop.create_future()
                await self._ended
            await taken(self._transport)  # a client that has half-closed still reads

    def finish(self) -> None:
        """Disconnect the client at once."""
        if not self._over:
            self._be_over()
        self._liveness.stop()
        self._transport.abort()  # the client had its time to read the rest
        self._serving.forget(self)
