"""The decision to let a client in, made before the client is in its room."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from bcast_grpc.core.hello import Hello
    from bcast_grpc.core.hub import Hub
    from bcast_grpc.core.identity import Identity, Rights
    from bcast_grpc.core.room import Room
    from bcast_grpc.events import Kind


class Admission:
    """Lets one client in, once: ``Entrance.admit`` returns it, and one ``Session`` or ``Publisher`` is made from it.

    It keeps the room open until it is used, so an admission that is not used must be released. The server may close or
    fill up in between, so making the session or publisher can still fail.

    Attributes:
        hub: the hub that admitted the client.
        hello: who the client is and what it wants, without what it has no right to.
        identity: who the client has proven to be.
        rights: what it may do in the room.
        wants: which kinds of events it asked for, including those that it has no right to.
        peer: the address of the client's end of the connection; None for the application that runs the server, whose
            messages are not limited in rate.
        asked: its place in the order in which clients asked to come in.
        room: the client's room, open and held.
    """

    __slots__ = ("_held", "asked", "hello", "hub", "identity", "peer", "rights", "room", "wants")

    def __init__(
        self,
        hub: Hub,
        hello: Hello,
        peer: str | None,
        identity: Identity,
        rights: Rights,
        wants: frozenset[Kind],
        asked: int,
        room: Room,
    ) -> None:
        self.hub = hub
        self.room = room
        self.hello = hello
        self.identity = identity
        self.rights = rights
        self.wants = wants
        self.peer = peer
        self.asked = asked
        self._held = True

    def __enter__(self) -> Self:
        assert self._held, "an admission is used once"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Stop keeping the room open. Call this if the client is not let in after all; otherwise it does nothing."""
        if self._held:
            self._held = False
            self.hub.release(self.room)
