"""Publishes one message for an author that holds no stream."""

from __future__ import annotations

from collections.abc import Callable

from bcast_grpc.core.acceptance import author_of, entry_of, rate_key
from bcast_grpc.core.admission import Admission
from bcast_grpc.core.intake import Intake
from bcast_grpc.core.peers import network_of
from bcast_grpc.core.permission import check_send
from bcast_grpc.events import Event, Request


class Publisher:
    """An author that holds no stream, for one message.

    Args:
        admission: lets it publish; the publisher releases it. Unless the author gave a stable id or a token, the
            message counts against the rate limit of its address, or of its connection if addresses have no bounds.
        answer: called once, with the ``ACK`` or ``ERROR``.

    Raises:
        CallError: ``SHUTTING_DOWN``.
    """

    def __init__(self, admission: Admission, *, answer: Callable[[Event], None]) -> None:
        hub, hello = admission.hub, admission.hello
        self._hub = hub
        self._author = author_of(hello, admission.identity)
        self._rated = peer = admission.peer
        if peer and (hello.client or admission.identity.subject):
            self._rated = rate_key(self._author, admission.identity)
        elif peer and hub.capacity.peers.bounds(network := network_of(peer)):
            self._rated = network
        self._identity = admission.identity
        self._retries = bool(hello.client)
        self._id = ""
        self._room = admission.room
        with admission:
            hub.attach(self._room, self._author, lambda events: answer(events[0]._replace(id=self._id)))
        self._intake = Intake(hub, self._room)

    @property
    def id(self) -> str:
        """The public session id."""
        return self._author.session

    @property
    def epoch(self) -> str:
        """The name of the room's order."""
        return self._room.head.epoch

    def hold(self, request: Request) -> None:
        """Delay the message if the memory for ids is almost full."""
        if self._retries:
            self._intake.hold([request.id])

    @property
    def congested(self) -> bool:
        """Whether the message should wait, as messages of a stream do."""
        return self._intake.congested

    def when_clear(self, callback: Callable[[], None]) -> None:
        """Call back once, from the scheduler's loop, when it is time to check ``congested`` again."""
        self._intake.when_clear(callback)

    def publish(self, request: Request) -> None:
        """Send one message.

        Raises:
            BcastError: the message is refused; ``SHUTTING_DOWN`` after the hub was closed, because an answer might
                never come.
        """
        self._hub.check_open()
        check_send(self._identity.grants(self._room.name))  # the rights may have changed since the admission
        entry = entry_of(self._hub, self._author, request, self._rated)
        self._id = entry.id
        self._hub.counts.messages += 1
        # Without a `bcast-client` a retry has another author, so remembering the id would be of no use.
        self._room.publish([entry._replace(asks=True, id=entry.id if self._retries else "")])

    def close(self) -> None:
        """Release the room. Call this in any case."""
        self._hub.detach(self._room, self._author)
