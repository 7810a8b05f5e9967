"""Where clients are let in or refused, at all doors alike."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from bcast_grpc.broker.base import Broker
from bcast_grpc.core.admission import Admission
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.identity import ANYONE, Caller, Gatekeeper, Identifying, Identity
from bcast_grpc.core.permission import check_entry
from bcast_grpc.core.presence import Presence

if TYPE_CHECKING:
    from bcast_grpc.core.hub import Hub
    from bcast_grpc.core.room import Room

Admitting: TypeAlias = Admission | Callable[[], Coroutine[Any, Any, Admission]]
"""An admission, or a function that waits for it. Not a coroutine: one that is never awaited would be a fault."""


class Entrance:
    """Decides who may come in, and opens their rooms.

    Args:
        hub: has the rooms.
        gatekeeper: decides who a client is.
        presence: orders those who ask.
        broker: may be behind where a client resumes.
    """

    def __init__(self, hub: Hub, gatekeeper: Gatekeeper, presence: Presence, broker: Broker) -> None:
        self._hub = hub
        self._gatekeeper = gatekeeper
        self._presence = presence
        self._broker = broker

    async def admit(self, hello: Hello, caller: Caller | None, *, publishing: bool = False) -> Admission:
        """Decide whether a client may come in, and open its room. Every door does this, or ``begin``, at first.

        The client may disconnect or the server may close while this waits, so ``join`` and ``attach`` check again.

        Args:
            hello: who the client says it is, and what it wants.
            caller: what the door knows about it; None for the application that embeds the server, which may do
                everything.
            publishing: whether it wants to send one message without being in the room.

        Raises:
            CallError: ``UNAUTHENTICATED``, ``TOKEN_EXPIRED`` or ``PERMISSION_DENIED``; ``SERVER_FULL``,
                ``SHUTTING_DOWN`` or ``BROKER_UNAVAILABLE``.
        """
        return await settled(self.begin(hello, caller, publishing=publishing))

    def begin(self, hello: Hello, caller: Caller | None, *, publishing: bool = False) -> Admitting:
        """Admit a client as ``admit`` does, without waiting where that is possible.

        Most clients come to rooms that are open, with tokens that are signed with keys at hand, or with wrong ones.
        For others this returns a function that waits, which may be called once.
        """
        self._hub.check_open()
        enter = partial(self._enter, hello, caller.peer if caller else None, self._presence.stamp(), publishing)
        identity = self._gatekeeper.identify(caller) if caller else ANYONE
        return enter(identity) if isinstance(identity, Identity) else partial(_when_known, identity, enter)

    def _enter(self, hello: Hello, peer: str | None, asked: int, publishing: bool, identity: Identity) -> Admitting:
        rights = identity.grants(hello.room)
        given = check_entry(hello, identity, rights, publishing=publishing)
        admission = partial(Admission, self._hub, given, peer, identity, rights, hello.kinds, asked)
        room = None if hello.after else self._hub.hold(hello.room)
        return admission(room) if room else partial(self._open, hello, admission)

    async def _open(self, hello: Hello, admission: Callable[[Room], Admission]) -> Admission:
        room = self._hub.hold(hello.room) or await self._hub.open(hello.room)
        try:
            if hello.after:
                await self._broker.reach(hello.room, hello.after)
        except BaseException:
            self._hub.release(room)
            raise
        return admission(room)


async def settled(admitting: Admitting) -> Admission:
    """Wait for an admission, if that is necessary."""
    return admitting if isinstance(admitting, Admission) else await admitting()


async def _when_known(identify: Identifying, enter: Callable[[Identity], Admitting]) -> Admission:
    return await settled(enter(await identify()))
