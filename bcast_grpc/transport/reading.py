"""Carries out what a client sends in slices, in turn with other clients, and no faster than its room can take it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter

from bcast_grpc.core.session import Session
from bcast_grpc.events import Request
from bcast_grpc.transport.ending import Ending, ended_by
from bcast_grpc.transport.turns import Turns


class Reading:
    """Carries out one client's requests. It has no task: what it waits for calls back.

    It holds one frame at a time; what comes in the meantime has to wait in the door.

    Args:
        session: the client's session.
        peer: the client's address.
        turns: the turns that all clients take.
        ready: called when a frame has been carried out, unless ``received`` has returned True.
    """

    __slots__ = (
        "_awaits_write",
        "_done",
        "_frame_s",
        "_has_turn",
        "_loop",
        "_needs_turn",
        "_peer",
        "_ready",
        "_requests",
        "_session",
        "_slices",
        "_turns",
    )

    def __init__(self, session: Session, peer: str, turns: Turns, ready: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._session = session
        self._peer = peer
        self._turns = turns
        self._ready = ready
        self._slices: Iterator[Sequence[Request]] | None = None
        self._requests: Sequence[Request] = ()
        self._done = 0
        self._frame_s = 0.0
        self._needs_turn = self._has_turn = False
        self._awaits_write = False

    def received(self, slices: Iterator[Sequence[Request]]) -> bool:
        """Carry out the next frame.

        Returns:
            Whether it has been carried out. If not, ``ready`` is called when it has been, unless reading ends before.
        """
        self._slices = slices
        self._frame_s = 0.0
        return self._go_on()

    def written(self) -> None:
        """Check again whether the client has read enough of its answers, because something has been written."""
        if self._awaits_write:
            self._awaits_write = False
            self._resume_soon()

    def end(self, ended: Ending[None]) -> None:
        """Read nothing more, and end the client's stream accordingly, once what is queued for it has been sent."""
        if ended.gone:
            self._session.outbox.close(discard=True)
        elif ended.error:
            self._session.fail(ended.error)
        else:
            self._session.leave()

    def close(self) -> None:
        """Drop what is not carried out yet, and call back no more."""
        self._ready = _nobody
        self._drop()

    def _drop(self) -> None:
        self._slices = None
        self._requests, self._done = (), 0

    def _resume(self) -> bool:
        """Go on after a wait; return False if there is nothing left to do."""
        if self._slices is None:
            return False
        if self._go_on():
            self._ready()
        return True

    def _resume_soon(self) -> None:
        self._loop.call_soon(self._resume)  # not in the middle of a flush

    def _take_turn(self) -> bool:
        self._has_turn = True
        return self._resume()

    def _go_on(self) -> bool:
        """Carry out as much as possible without waiting; return whether that is all of the frame."""
        try:
            while not self._held_up():
                if self._done == len(self._requests) and not self._next_slice():
                    if self._turns.pause(self._peer, self._frame_s, self._finish):
                        return False
                    self._drop()
                    return True
                if self._needs_turn and not self._has_turn and self._turns.scarce:
                    self._turns.call(self._peer, self._take_turn)
                    return False
                if self._requests:
                    self._handle()
        except Exception as raised:  # noqa: BLE001  # it is sent to the client, or logged
            self._drop()
            self.end(ended_by(raised, f"session {self._session.id}"))
        return False

    def _held_up(self) -> bool:
        """Return whether to wait for the room, the store or the client.

        This is checked before the first slice, too: otherwise each of many clients could add a slice.
        """
        if self._session.congested:
            self._session.when_flushed(self._resume_soon)
            return True
        self._awaits_write = self._session.backlogged
        return self._awaits_write

    def _handle(self) -> None:
        began = perf_counter()
        self._done = self._session.handle(self._requests, self._done)
        self._turns.worked(perf_counter() - began)
        self._needs_turn, self._has_turn = self._done < len(self._requests), False

    def _next_slice(self) -> bool:
        """Read the next slice of the frame; return False if there is none."""
        assert self._slices is not None
        is_first = not self._frame_s
        self._requests, self._done = (), 0
        began = perf_counter()
        try:
            requests = next(self._slices, None)
        finally:  # finding that a frame is malformed may have taken long
            slice_s = perf_counter() - began
            self._frame_s += slice_s
            self._turns.spent(slice_s)
        self._requests = requests or ()
        self._needs_turn, self._has_turn = requests is not None and not is_first, False  # an empty slice is a pause
        return requests is not None

    def _finish(self) -> bool:
        if self._slices is None:
            return False
        self._drop()
        self._ready()
        return True


def _nobody() -> None:
    """Do nothing: the client has left."""
