"""How long a connected client's identity holds, and how the client renews it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from bcast_grpc.core import notices
from bcast_grpc.core.batch import Due
from bcast_grpc.core.hub import Hub
from bcast_grpc.core.identity import Caller, Identity
from bcast_grpc.core.lease import Lease
from bcast_grpc.core.member import Member
from bcast_grpc.core.review import regrant
from bcast_grpc.core.room import Room
from bcast_grpc.core.scheduling import Timer
from bcast_grpc.errors import BcastError, CallError, ErrorCode, RequestError
from bcast_grpc.events import Event, Kind, Request

logger = logging.getLogger(__name__)


class Standing:
    """Ends a client's stream when its token expires, unless it presents another one.

    Args:
        hub: verifies tokens.
        room: the room that the client is in.
        member: the client.
        peer: the address of its end of the connection.
        end: ends its stream with an error, once what is queued has gone out. What it asks for after that is ignored.

    Attributes:
        renewing: whether a token is being verified. Meanwhile the client's next requests wait.
    """

    __slots__ = ("_end", "_hub", "_lease", "_member", "_peer", "_room", "_waiting", "_work", "renewing")

    def __init__(self, hub: Hub, room: Room, member: Member, peer: str, end: Callable[[CallError], None]) -> None:
        self._end = end
        self._hub = hub
        self._room = room
        self._member = member
        self._peer = peer
        self._waiting: list[Callable[[], None]] = []
        self._work: Timer | None = None
        self._lease: Lease | None = None
        self.renewing = False
        self._begin_lease()

    def renew(self, request: Request) -> None:
        """Verify the token in a request, and answer the request."""
        self.renewing = True
        self._work = self._hub.scheduler.start(self._renew(request))

    def when_renewed(self, callback: Callable[[], None]) -> None:
        """Call back once, when no token is being verified any more."""
        self._waiting.append(callback)

    def stop(self) -> None:
        """Stop the timer and the verification. Call this in any case."""
        if self._work:
            self._work.cancel()
            self._work = None
        if self._lease:
            self._lease.stop()
            self._lease = None
        self._waiting = []
        self._end = _end_nothing  # breaks the reference cycle with the session

    async def _renew(self, request: Request) -> None:
        answer = await self._answer_to(request)
        self._work = None
        self.renewing = False
        if answer:
            self._tell(answer)
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()

    async def _answer_to(self, request: Request) -> Event | None:
        try:
            identify = partial(self._hub.gatekeeper.identify, Caller(self._peer, request.msg))
            identity = await self._hub.scheduler.do(self._peer, identify)  # verifying takes time, and many may renew
            self._change(identity if isinstance(identity, Identity) else await identity())
        except BcastError as error:
            return notices.error(error, request.id)
        except Exception:
            logger.exception("internal error while verifying a token of session %s", self._member.author.session)
            return notices.error(CallError(ErrorCode.INTERNAL, "the token could not be verified"), request.id)
        if not request.id:
            return None
        return notices.done("your token is accepted", self._room.head.epoch, request.id)

    def _change(self, identity: Identity) -> None:
        member = self._member
        subject = member.identity.subject
        if identity.subject != subject and subject:
            raise RequestError(
                ErrorCode.PERMISSION_DENIED,
                f"the token must be for {subject!r}: this stream is of that subject",
            )
        if identity.subject != subject and member.author.key != member.author.session:
            # Its id would stay one of the anonymous, and any of them could take its place.
            raise RequestError(
                ErrorCode.PERMISSION_DENIED,
                "a client that gave itself a bcast-client must connect with its token",
            )
        regrant(self._room, member, identity)
        if identity.name and identity.name != member.author.name:
            self._hub.rename(self._room, member, identity.name)
        self._begin_lease()

    def _begin_lease(self) -> None:
        if self._lease:
            self._lease.stop()
        expires_at = self._member.identity.expires_at
        scheduler = self._hub.scheduler
        self._lease = None if expires_at is None else Lease(scheduler, expires_at, self._warn, self._expire)

    def _warn(self, left_s: float) -> None:
        if Kind.EXPIRING in self._member.kinds:
            self._tell(notices.expiring(left_s))

    def _expire(self) -> None:
        self._end(CallError(ErrorCode.TOKEN_EXPIRED, "your token has expired"))

    def _tell(self, event: Event) -> None:
        self._room.answer(Due.of(self._member.author.session, [event]))


def _end_nothing(_: CallError) -> None:
    """Do nothing: the client has left."""
