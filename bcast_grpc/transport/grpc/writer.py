"""The writing half of a connection: its calls write in turn, as long as there is room."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from time import perf_counter
from typing import TYPE_CHECKING

from bcast_grpc.http2 import Connection as Http2
from bcast_grpc.transport.turns import Turns

if TYPE_CHECKING:
    from bcast_grpc.transport.grpc.call import Call
    from bcast_grpc.transport.grpc.lane import Lane

UNSENT_BYTES = 64 * 1024
"""Nothing more is read while so many bytes wait to be sent, so that what is owed to the client is bounded."""

PIECE_BYTES = 64 * 1024
"""How much is collected before it is written to the transport."""

RECHECK_S = 0.01
"""How long after a change of the connection's window all blocked calls are checked again."""


class Writer:
    """Writes the data of calls, and the frames of HTTP/2 itself.

    Args:
        h2: makes the bytes.
        transport: the connection's transport.
        turns: the turns that long writes of all connections take.
        peer: the client's address.

    Attributes:
        paused: whether the transport has no room for more.
        expects: whether a call has just begun: what is to be written waits for its answer, in the loop's next pass.
    """

    __slots__ = (
        "_blocks",
        "_ended",
        "_h2",
        "_lane",
        "_long",
        "_loop",
        "_peer",
        "_pumping",
        "_ready",
        "_recheck_timer",
        "_transport",
        "_turns",
        "_unsent",
        "_waits",
        "_woken",
        "expects",
        "paused",
    )

    def __init__(self, h2: Http2, transport: asyncio.Transport, turns: Turns, peer: str) -> None:
        self._h2 = h2
        self._transport = transport
        self._turns = turns
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._ready: list[Call] = []  # calls that have something to write
        self._recheck_timer: asyncio.TimerHandle | None = None
        self._blocks = False  # the own window of some call has had no room since all were checked last
        self._pumping = False
        self._long = False  # there was more to write than there was time or room for
        self._waits = False  # for its turn
        self._ended = False  # the connection is half-closed
        self._woken = False
        self._lane: Lane | None = None  # to which all room is lent
        self._unsent = 0
        self.paused = False
        self.expects = False

    @property
    def full(self) -> bool:
        """Whether so much waits to be sent that nothing more should be read."""
        return self.paused and self._unsent + self._h2.owed > UNSENT_BYTES

    @property
    def lends(self) -> bool:
        """Whether all room is lent to a lane."""
        return self._lane is not None

    def add(self, call: Call) -> None:
        """Let a call write when it is its turn, at the next ``pump()``."""
        self.settle()
        if not call.queued:
            call.queued = True
            self._ready.append(call)

    def soon(self) -> None:
        """Pump in the next pass of the loop."""
        if not (self._woken or self._pumping):
            self._woken = True
            self._loop.call_soon(self._wake)

    def expect(self) -> None:
        """Note that a call has just begun: what is to be written waits for its answer, which comes soon."""
        self.expects = True
        self.soon()

    def pump(self) -> None:
        """Let the calls write in turn, as long as there is room, and time.

        Those of a connection that has much to write wait until it is its turn: others may have much to write, too.
        """
        if self._ready and not self._waits:
            if self._turns.scarce and (self._long or self._blocks):
                self._wait_for_turn()
            else:
                self._write()
        self.flush()

    def _wait_for_turn(self) -> None:
        self._waits = True
        self._turns.call(self._peer, self._take_turn)

    def _take_turn(self) -> bool:
        self._waits = False
        self._write()
        self.flush()
        return True

    def _write(self) -> None:
        """Let calls write as long as there is room, and nobody waits for more than one of them has written."""
        ready, h2, turns = self._ready, self._h2, self._turns
        self._pumping = True
        began = perf_counter()
        while ready and not self.paused and h2.window > 0:
            more = False
            call = ready.pop(0)
            call.queued = False
            try:
                if more := call.write():
                    self.add(call)
            except Exception as raised:  # noqa: BLE001  # the call ends with it
                call.fault(raised)
            now = perf_counter()
            turns.worked(now - began)
            began = now
            if turns.used_up or (more and turns.scarce):
                if ready:
                    self._wait_for_turn()
                break
        self._long = bool(ready)
        self._pumping = False

    def flush(self) -> None:
        """Write what is to be sent to the transport, if it has room."""
        if self.paused or self._ended:
            return
        self._unsent = 0
        pieces = self._h2.data_to_send()
        if pieces and not self._transport.is_closing():
            self._transport.writelines(pieces)

    def send_headers(self, stream_id: int, block: bytes, *, ended: bool) -> None:
        """Send header fields on a stream, unless the client has reset it."""
        self.settle()
        try:
            self._h2.send_headers(stream_id, block, ended=ended)
        except LookupError:
            return
        self._unsent += len(block)

    def send_data(self, call: Call, data: bytes | memoryview) -> int:
        """Send as much as the windows allow; return how much that is. A blocked call waits for its own window."""
        self.settle()
        sent = self._h2.send_data(call.stream_id, data)
        call.sent += sent
        call.blocked = sent < len(data) and self._h2.window > 0
        self._blocks |= call.blocked
        self._unsent += sent
        if self._unsent >= PIECE_BYTES:
            self.flush()
        return sent

    def send_now(self, call: Call, data: bytes) -> bool:
        """Send all of the data, and write it to the transport; nothing if there is no room, or other calls are open.

        The data of many calls of one connection are collected first: see ``pump``.
        """
        if self._lane:
            self.settle()
        h2, transport = self._h2, self._transport
        if self.paused or self._ended or self._ready or transport.is_closing():
            return False
        if not h2.send_whole(call.stream_id, data):
            return False
        call.sent += len(data)
        self._unsent = 0
        transport.writelines(h2.data_to_send())
        return True

    def lend(self, lane: Lane) -> int:
        """Lend all room of a lane's call to the lane, if nothing else is to be written; return how many bytes."""
        if self.paused or self._ended or self._ready:
            return 0
        self._lane = lane
        return self._h2.room(lane.call.stream_id)

    def settle(self) -> Lane | None:
        """Take back what is lent, because something else happens on the connection; return the lane that had it."""
        lane, self._lane = self._lane, None
        if lane:
            written, frames = lane.give_back()
            lane.call.sent += written
            self._h2.count_sent(lane.call.stream_id, written, frames)
        return lane

    def pause(self) -> None:
        """Write nothing more for now: the transport has no room."""
        self.paused = True
        self.settle()

    def recheck(self, calls: Iterable[Call]) -> None:
        """Check all blocked calls again soon: each may have room now. Cost: O(calls), so it is not done at once."""
        if self._blocks and not self._recheck_timer:
            self._recheck_timer = self._loop.call_later(RECHECK_S, self._recheck, calls)

    def end(self) -> None:
        """Write what is to be sent, even if the transport has no room for it, and nothing more after that."""
        self.settle()
        self.paused = False
        self.flush()
        self._ended = True

    def stop(self, calls: Iterable[Call]) -> None:
        """Stop writing; ``calls`` are all calls of the connection."""
        self.settle()
        for call in calls:
            call.queued = True  # so that it is never queued again
        self._ready.clear()
        if self._recheck_timer:
            self._recheck_timer.cancel()

    def _wake(self) -> None:
        self._woken = self.expects = False
        self.pump()

    def _recheck(self, calls: Iterable[Call]) -> None:
        self._recheck_timer = None
        self._blocks = False
        for call in calls:
            if call.blocked:
                self.add(call)
        self.pump()
