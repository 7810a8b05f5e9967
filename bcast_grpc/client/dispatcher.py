"""Where each event from the server goes: answers to whoever asked, everything else to the inbox, nothing twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from bcast_grpc.client.cursor import Cursor
from bcast_grpc.client.inbox import Inbox
from bcast_grpc.client.renewal import Renewal
from bcast_grpc.client.unanswered import Unanswered
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Ack, Closing, Detail, Error, Event, Gap, GapReason, Kind, Resumed, ResumePoint, Welcome
from bcast_grpc.wire.protobuf import decode_events

# If nobody takes events for this long while an answer is awaited, we assume that they wait for that answer.
_PATIENCE_S = 0.1


class SessionInfo(NamedTuple):
    """What the server tells us when it lets us in."""

    session: str = ""
    room: str = ""
    epoch: str = ""


class Dispatcher:
    """Receives the events of one chat, over all of its calls.

    Args:
        renewal: renews the token when it expires soon.
        has_other: says whether there is another server that may be asked what this one cannot do.
        wants_welcome: whether the application gets ``WELCOME`` events.
        wants_expiring: likewise for ``EXPIRING``.

    Attributes:
        info: the session of the last call.
        reconnect_after_s: when to reconnect, if the server of this call said so; else 0.
        why_move: why the server of this call is to be left for another; ``None`` if it is not.
    """

    def __init__(
        self,
        unanswered: Unanswered,
        inbox: Inbox,
        cursor: Cursor,
        renewal: Renewal,
        has_other: Callable[[], bool],
        *,
        wants_welcome: bool,
        wants_expiring: bool,
    ) -> None:
        self.info = SessionInfo()
        self.reconnect_after_s = 0.0
        self.why_move: CallError | None = None
        self._unanswered = unanswered
        self._inbox = inbox
        self._cursor = cursor
        self._renewal = renewal
        self._has_other = has_other
        self._wants_welcome = wants_welcome
        self._wants_expiring = wants_expiring
        self._lost_at = 0.0
        self._moved_to = ""
        self._leaving = False
        self._taken_from = False
        self._stuck_at = -1
        self._room = asyncio.Event()
        self._changed = asyncio.Event()

    @property
    def resume_point(self) -> ResumePoint | None:
        """Where the next call resumes."""
        return self._cursor.resume_point

    # --- for the application

    def taking(self) -> None:
        """Note that the application is taking events from the inbox."""
        self._taken_from = True
        if self._inbox.half_empty:
            self._room.set()

    async def change(self) -> None:
        """Wait until there are new events in the inbox, or there will be no more."""
        self._changed.clear()
        await self._changed.wait()

    # --- for the connection

    def begin(self, info: SessionInfo, moved_to: str = "") -> None:
        """Begin a call; ``moved_to`` is its server's address, if that is another than the last call's."""
        self.info = info
        self.why_move = None
        self._moved_to = moved_to
        self.reconnect_after_s = 0.0
        # If the last call was lost before the first WELCOME, there is no resume point.
        if self._lost_at and self._cursor.resume_point is None:
            self._resumed(complete=False)
            self.tell(Kind.GAP, "you may have missed messages", Gap(0, 0, GapReason.UNSPECIFIED))
        self._cursor.begin(info.epoch)

    def receive(self, frame: bytes) -> None:
        """Decode a frame, and give each event to whoever asked for it or to the inbox.

        Raises:
            MalformedFrame: it does not parse.
        """
        fresh, passes = self._cursor.take, self._passes
        events = [
            event
            for event in decode_events(frame)
            if (fresh(event.seq) if event.kind is Kind.MESSAGE else passes(event))
        ]
        if events:
            self._inbox.put(events, len(frame))
            self._changed.set()

    async def make_room(self) -> None:
        """Wait before more is read, while the inbox is full; meanwhile the server's policy for slow clients decides.

        In two cases old events are dropped instead, because waiting would be a deadlock: the application has never
        taken an event, or it awaits an answer that is queued behind events which it does not take.
        """
        if self._inbox.full:
            await self._wait_for_room()

    def wake(self) -> None:
        """Check again whether to wait for room."""
        self._room.set()

    def leave(self) -> None:
        """Stop waiting for room: the chat is being left."""
        self._leaving = True
        self._room.set()

    def tell(self, kind: Kind, text: str, detail: Detail) -> None:
        """Give the application an event that does not come from the server."""
        self._inbox.tell(Event(kind, text, time_ns=time.time_ns(), detail=detail))
        self._changed.set()

    def lost(self) -> None:
        """Note that the connection was lost."""
        self._lost_at = time.monotonic()

    def end(self) -> None:
        """Note that there will be no more events."""
        self._changed.set()

    def _passes(self, event: Event) -> bool:
        """Whether an event that is not a message is for the inbox."""
        match event.detail:
            case Ack() as ack:
                self._cursor.own(ack)
            case Gap() as gap:
                self._cursor.gap(gap)
            case Closing(_, reconnect_after_s):
                self.reconnect_after_s = reconnect_after_s
            case Welcome(epoch=epoch, resumed=resumed):
                self.info = self.info._replace(epoch=epoch)
                self._cursor.begin(epoch)  # another one than the call's if the order began anew meanwhile
                self._cursor.welcome(event.seq)
                if self._lost_at:
                    self._resumed(complete=resumed)
                return self._wants_welcome
            case Error(code=ErrorCode.BROKER_UNAVAILABLE) as error if self._put_off(event.id):
                self.why_move = CallError(error.code, error.reason, retry_after_s=error.retry_after_s)
                return False
            case None if event.kind is Kind.EXPIRING:
                self._renewal.expiring()
                return self._wants_expiring
        return not (event.id and (self._unanswered.resolve(event) or self._renewal.resolve(event)))

    def _put_off(self, id_: str) -> bool:
        """Whether a request is kept for another server. Each is once: where that one cannot either, it is answered."""
        return (self.why_move is not None or self._has_other()) and self._unanswered.put_off(id_)

    def _resumed(self, *, complete: bool) -> None:
        away_s, self._lost_at = time.monotonic() - self._lost_at, 0.0
        text = f"connected again, {f'to {self._moved_to}, ' if self._moved_to else ''}after {away_s:.1f} s"
        detail = Resumed(away_s, complete, self._moved_to)
        self.tell(Kind.RESUMED, text if complete else f"{text}; you missed messages", detail)

    async def _wait_for_room(self) -> None:
        clock = asyncio.get_running_loop().time
        place, patient_until = self._inbox.place, clock() + _PATIENCE_S
        while self._inbox.full and self._taken_from and not self._leaving:
            if self._inbox.place != place:
                place, patient_until = self._inbox.place, clock() + _PATIENCE_S
            if self._unanswered.count and (place == self._stuck_at or clock() >= patient_until):
                self._inbox.trim()
                self._stuck_at = self._inbox.place
                return
            self._room.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(patient_until if self._unanswered.count else None):
                    await self._room.wait()
        self._inbox.trim()
