"""One connected client: what each of its requests does. Knows nothing of transports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter

from bcast_grpc.core import notices
from bcast_grpc.core.acceptance import (
    BROADCAST,
    author_of,
    check_id,
    check_rate,
    entries_of,
    entry_of,
    rate_key,
    renewal_key,
)
from bcast_grpc.core.admission import Admission
from bcast_grpc.core.batch import Due, Encoder
from bcast_grpc.core.counts import LEFT
from bcast_grpc.core.intake import Intake
from bcast_grpc.core.member import Member
from bcast_grpc.core.names import check_name, shortened
from bcast_grpc.core.outbox import Outbox, no_room
from bcast_grpc.core.peers import network_of
from bcast_grpc.core.permission import check_name_of, check_send, check_who
from bcast_grpc.core.review import regrant
from bcast_grpc.core.standing import Standing
from bcast_grpc.errors import BcastError, CallError, ErrorCode, RequestError
from bcast_grpc.events import Entry, Event, Request

_SLICE = 256

_id = itemgetter(Request._fields.index("id"))
_LAST_OF_A_SLICE = ("who", "auth")
"""These end a slice, to give others their turn: a list of members may be long, and verifying a token takes time."""


class Session:
    """A connected client, from the beginning to the end of its call.

    Args:
        admission: lets it in; the session releases it.
        encoder: its wire format.
        wake: called when there is something to take.
        write_now: writes a frame if the line has room; returns whether it did.
        reader: whether it only reads.

    Attributes:
        outbox: what is queued for it.

    Raises:
        CallError: ``SERVER_FULL`` or ``SHUTTING_DOWN``: the server filled up or closed since the admission.
    """

    __slots__ = (
        "_answers",
        "_asking",
        "_entries",
        "_hub",
        "_intake",
        "_leaving",
        "_member",
        "_peer",
        "_room",
        "_slice",
        "_standing",
        "outbox",
    )

    def __init__(
        self,
        admission: Admission,
        encoder: Encoder,
        *,
        wake: Callable[[], None],
        write_now: Callable[[bytes], bool] = no_room,
        reader: bool = False,
    ) -> None:
        hub, hello, identity = admission.hub, admission.hello, admission.identity
        limits = hub.limits
        self.outbox = Outbox(
            encoder,
            max_messages=limits.queue_messages,
            max_bytes=limits.queue_bytes,
            wake=wake,
            write_now=write_now,
            counts=hub.counts,
        )
        author = author_of(hello, identity)
        self._member = Member(author, self.outbox, hello.kinds, hello.echo, reader, limits.slow_policy)
        self._member.admit_as(identity, admission.rights, admission.wants)
        self._peer = admission.peer or ""
        self._member.network = network_of(self._peer)
        self._member.asked = admission.asked
        self._hub = hub
        self._leaving = ""  # how the call ends, once that is known
        self._asking = False
        self._slice = min(_SLICE, limits.batch_messages)
        self._entries: list[Entry] = []
        self._answers: list[Event] = []
        self._room = admission.room
        with admission:
            hub.join(self._room, self._member, hello.after, hello.history)
        regrant(self._room, self._member, identity)  # its rights may have changed since the admission
        self._intake = Intake(hub, self._room)
        self._standing = None if identity.expires_at is None else self._stand()

    @property
    def id(self) -> str:
        """The public session id."""
        return self._member.author.session

    @property
    def epoch(self) -> str:
        """The name of the room's order."""
        return self._room.head.epoch

    @property
    def congested(self) -> bool:
        """Whether the next slice of requests should wait: for the room, for ids to expire, or for a token."""
        return self._intake.congested or (self._standing is not None and self._standing.renewing)

    @property
    def backlogged(self) -> bool:
        """Whether the next slice should wait because the client does not read the answers to its requests."""
        return self._asking and not self.outbox.closed and self._member.backlogged

    def when_flushed(self, callback: Callable[[], None]) -> None:
        """Call back once, from the scheduler's loop, when it is time to check ``congested`` again."""
        if self._standing and self._standing.renewing:
            self._standing.when_renewed(callback)
        else:
            self._intake.when_clear(callback)

    def handle(self, requests: Sequence[Request], start: int = 0) -> int:
        """Carry out a slice of ``requests`` from ``start`` on, without waiting.

        Returns:
            The index at which the next slice begins. Between slices a transport gives others their turn.
        """
        hub, member = self._hub, self._member
        wanted = requests[start : start + self._slice]
        if not hub.rates and member.rights.send and not (self._leaving or self.outbox.closed):
            entries = entries_of(hub, member.author, wanted)
            if entries is not None:  # as mostly
                if asking := len(wanted) - [*map(_id, wanted)].count(""):
                    self._asking = True
                    member.owed += asking
                self._entries = entries
                self._publish()
                self._answer()
                return start + len(wanted)
        rated = rate_key(member.author, member.identity) if hub.rates else None
        stop = start
        for request in wanted:
            if self._leaving or self.outbox.closed:
                return len(requests)
            stop += 1
            operacion, _, _, id_, fault = request
            if id_:
                self._asking = True
                member.owed += 1
            try:
                if fault:
                    raise RequestError(ErrorCode.MALFORMED, fault)
                if operacion in BROADCAST:
                    check_send(member.rights)
                    entry = entry_of(hub, member.author, request, rated)
                    if self._answers:
                        self._answer()
                    self._entries.append(entry)
                else:
                    self._operate(request)
            except RequestError as error:
                self._publish()  # earlier messages are answered first
                self._answers.append(notices.error(error, id_))
            if operacion in _LAST_OF_A_SLICE:
                break
        self._publish()
        self._answer()
        return stop

    def take(self) -> bytes | None:
        """Take the next frame to write; None if there is nothing. See ``Outbox.take``."""
        return self._room.take(self._member)

    def leave(self, request_id: str = "") -> None:
        """End the call normally, once what is queued has been sent; later requests are ignored."""
        if not self._leaving:
            self._leaving = LEFT
            answers = [notices.done("goodbye", self.epoch, request_id)] if request_id else []
            self._room.leave(self._member, answers)

    def fail(self, error: CallError) -> None:
        """End the call because of a mistake of the client, once what is queued has been sent."""
        self._leaving = error.code.name
        self._room.leave(self._member, [], error)

    def close(self) -> None:
        """Remove the client from its room. Call this in any case."""
        if self._standing:
            self._standing.stop()
        self._hub.leave(self._room, self._member, self._leaving)

    def _operate(self, request: Request) -> None:
        """Carry out a request other than a broadcast."""
        check_id(self._hub, request)
        operation = _OPERATIONS.get(request.operacion)
        if operation is None:
            known = "broadcast (or leave it empty), join, leave, who or auth"
            raise RequestError(
                ErrorCode.UNKNOWN_OPERATION, f"unknown operation {shortened(request.operacion)!r}; use {known}"
            )
        self._publish()  # earlier messages get their place first
        self._answer()
        operation(self, request)

    def _publish(self) -> None:
        if not self._entries:
            return
        entries, self._entries = self._entries, []
        self._hub.counts.messages += len(entries)
        self._intake.hold(entry.id for entry in entries)
        try:
            self._room.publish(entries)
        except BcastError as error:
            self._answers += [notices.error(error, entry.id) for entry in entries]

    def _answer(self) -> None:
        """Send the answers to requests other than messages. At most one of this and ``_publish`` has work."""
        if self._answers:
            self._asking = True
            answers, self._answers = self._answers, []
            self._room.answer(Due.of(self.id, answers))

    def _join(self, request: Request) -> None:
        name = check_name(request.msg, self._hub.limits)
        check_name_of(self._member.identity, name)
        check_rate(self._hub, rate_key(self._member.author, self._member.identity))
        self._hub.rename(self._room, self._member, name)
        if request.id:
            self._answers.append(notices.done(f"your name is {name}", self.epoch, request.id))

    def _auth(self, request: Request) -> None:
        check_rate(self._hub, renewal_key(self._member.author, self._member.identity))
        self._standing = self._standing or self._stand()
        self._standing.renew(request)

    def _stand(self) -> Standing:
        return Standing(self._hub, self._room, self._member, self._peer, self.fail)

    def _who(self, request: Request) -> None:
        check_who(self._member.rights)
        check_rate(self._hub, rate_key(self._member.author, self._member.identity))
        self._asking = True
        present = partial(self._room.presence.members, self._room.name)
        self._room.answer(
            Due(self.id, lambda: notices.members_in_parts(present(), request.id), notices.members_bytes(present()))
        )


_OPERATIONS: dict[str, Callable[[Session, Request], None]] = {
    "join": Session._join,  # noqa: SLF001
    "leave": lambda session, request: session.leave(request.id),
    "who": Session._who,  # noqa: SLF001
    "auth": Session._auth,  # noqa: SLF001
}
