"""One client's side of the conversation: what each operation does. It knows no transport."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from bcast_grpc.core import notices
from bcast_grpc.core.admission import Admission
from bcast_grpc.core.batch import Encoder
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.hub import Hub
from bcast_grpc.core.intake import Intake
from bcast_grpc.core.member import Member
from bcast_grpc.core.names import check_name, shortened
from bcast_grpc.core.outbox import Outbox, no_room
from bcast_grpc.errors import BcastError, CallError, ErrorCode, RequestError
from bcast_grpc.events import Author, Entry, Event, Request, relayed, utf8_bytes

_SLICE = 256


class Session:
    """A connected client, from the arrival of its call to the end of it.

    Args:
        admission: says that it may come in; it is used up.
        encoder: its wire format.
        wake: called when there is something to take.
        write_now: writes a frame, if there is room.
        reader: whether it only reads.

    Attributes:
        outbox: what is queued for it.

    Raises:
        CallError: it cannot be let in after all: ``SERVER_FULL`` or ``SHUTTING_DOWN``.
    """

    __slots__ = (
        "_answers",
        "_asking",
        "_entries",
        "_hub",
        "_intake",
        "_leaving",
        "_member",
        "_room",
        "_slice",
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
        hub, hello = admission.hub, admission.hello
        limits = hub.limits
        self.outbox = Outbox(
            encoder,
            max_messages=limits.queue_messages,
            max_bytes=limits.queue_bytes,
            wake=wake,
            write_now=write_now,
        )
        self._member = Member(_author(hello), self.outbox, hello.kinds, hello.echo, reader, limits.slow_policy)
        self._hub = hub
        self._leaving = False
        self._asking = False
        self._slice = min(_SLICE, limits.batch_messages)
        self._entries: list[Entry] = []
        self._answers: list[Event] = []
        self._room = admission.room
        with admission:
            hub.join(self._room, self._member, hello.after, hello.history)
        self._intake = Intake(hub, self._room)

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
        """Whether the next slice of requests should wait for the room's next flush, or until ids are forgotten."""
        return self._intake.congested

    @property
    def backlogged(self) -> bool:
        """Whether the next slice should wait until more of what is queued for this client has been written.

        That is so where it asks for answers faster than it reads them.
        """
        return self._asking and not self.outbox.closed and self._member.backlogged

    def when_flushed(self, callback: Callable[[], None]) -> None:
        """Call back once, from the scheduler's loop, when it is to be looked again whether this is congested."""
        self._intake.when_clear(callback)

    def handle(self, requests: Sequence[Request], start: int = 0) -> int:
        """Carry out a slice of ``requests`` from ``start`` on, without waiting.

        Returns:
            Where the next slice begins. Between slices a transport lets others have their turn.
        """
        stop = start
        for request in requests[start : start + self._slice]:
            if self._leaving:
                return len(requests)
            stop += 1
            if request.id:
                self._asking = True
                self._member.owed += 1
            self._carry_out(request)
            if request.operacion == "who":  # its answer may be as long as the room is full
                break
        self._publish()
        self._answer()
        return stop

    def take(self) -> bytes | None:
        """Take the next frame to write; None if there is nothing. See ``Outbox.take``."""
        return self._room.take(self._member)

    def leave(self, request_id: str = "") -> None:
        """End the call well, once what is queued has gone out; whatever is asked after that is ignored."""
        if not self._leaving:
            self._leaving = True
            answers = [notices.done("goodbye", self.epoch, request_id)] if request_id else []
            self._room.leave(self._member, answers)

    def fail(self, error: CallError) -> None:
        """End the call with an error of the client's own making, once what is queued has gone out."""
        self._leaving = True
        self._room.leave(self._member, [], error)

    def close(self) -> None:
        """Take the client out of its room. To be called whatever happened."""
        self._hub.leave(self._room, self._member)

    def _carry_out(self, request: Request) -> None:
        try:
            if request.fault:
                raise RequestError(ErrorCode.MALFORMED, request.fault)
            if request.operacion in ("", "broadcast"):
                entry = _entry(self._hub, self._member.author, request, self._member.author.key)
                self._answer()
                self._entries.append(entry)
                return
            _check_id(self._hub, request)
            operation = _OPERATIONS.get(request.operacion)
            if operation is None:
                known = "broadcast (or leave it empty), join, leave or who"
                raise RequestError(
                    ErrorCode.UNKNOWN_OPERATION, f"unknown operation {shortened(request.operacion)!r}; use {known}"
                )
            self._publish()  # what came before it has its place before it
            self._answer()
            operation(self, request)
        except RequestError as error:
            self._publish()  # what came before it is answered before it
            self._answers.append(notices.error(error, request.id))

    def _publish(self) -> None:
        if not self._entries:
            return
        entries, self._entries = self._entries, []
        if any(entry.id for entry in entries):
            self._intake.hold()
        try:
            self._room.publish(entries)
        except BcastError as error:
            self._answers += [notices.error(error, entry.id) for entry in entries]

    def _answer(self) -> None:
        """Answer what is no message. Either this is needed before the next request, or ``_publish``, or neither."""
        if self._answers:
            self._asking = True
            answers, self._answers = self._answers, []
            self._room.answer(self.id, lambda: answers)

    def _join(self, request: Request) -> None:
        name = check_name(request.msg, self._hub.limits)
        self._hub.rename(self._room, self._member, name)
        if request.id:
            self._answers.append(notices.done(f"your name is {name}", self.epoch, request.id))

    def _leave(self, request: Request) -> None:
        self.leave(request.id)

    def _who(self, request: Request) -> None:
        self._asking = True
        self._room.answer(
            self.id, lambda: notices.members_in_parts(self._room.presence.members(self._room.name), request.id)
        )


_OPERATIONS: dict[str, Callable[[Session, Request], None]] = {
    "join": Session._join,  # noqa: SLF001
    "leave": Session._leave,  # noqa: SLF001
    "who": Session._who,  # noqa: SLF001
}


class Publisher:
    """An author that holds no stream, for one message.

    Args:
        admission: says that it may publish; it is used up. Unless the author gave a stable id, its messages count
            against the rate of the admission's ``peer``.
        answer: called once with the ``ACK`` or ``ERROR``.

    Raises:
        CallError: ``SHUTTING_DOWN``.
    """

    def __init__(self, admission: Admission, *, answer: Callable[[Event], None]) -> None:
        hub, hello = admission.hub, admission.hello
        self._hub = hub
        self._author = _author(hello)
        self._rate_key = admission.peer and (self._author.key if hello.client else admission.peer)
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
        """Have the message wait where next to no more ids can be remembered."""
        if request.id and self._retries:
            self._intake.hold()

    @property
    def congested(self) -> bool:
        """Whether the message should wait, as those of a stream do."""
        return self._intake.congested

    def when_clear(self, callback: Callable[[], None]) -> None:
        """Call back once, from the scheduler's loop, when it is to be looked again whether this is congested."""
        self._intake.when_clear(callback)

    def publish(self, request: Request) -> None:
        """Send one message.

        Raises:
            BcastError: the message is not accepted; ``SHUTTING_DOWN`` after the hub was closed, as nobody may answer.
        """
        self._hub.check_open()
        entry = _entry(self._hub, self._author, request, self._rate_key)
        self._id = entry.id
        # Without a stable id of the client's own nobody can send the same again, so there is nothing to remember.
        self._room.publish([entry._replace(asks=True, id=entry.id if self._retries else "")])

    def close(self) -> None:
        """Release the room. To be called whatever happened."""
        self._hub.detach(self._room, self._author)


def _author(hello: Hello) -> Author:
    session = secrets.token_urlsafe(9)
    # The colon keeps the ids that clients choose apart from the session ids, which everyone can see.
    return Author(session, hello.name, f":{hello.client}" if hello.client else session)


def _entry(hub: Hub, author: Author, request: Request, rate_key: str | None) -> Entry:
    """Return the message that a broadcast asks for, or raise what is wrong with it."""
    _, msg, data, id_, _ = request
    size = utf8_bytes(msg) + len(data)
    if not size:
        raise RequestError(ErrorCode.EMPTY_MESSAGE, "a broadcast needs msg or data")
    if size > hub.limits.max_message_bytes:
        raise RequestError(
            ErrorCode.MESSAGE_TOO_LARGE,
            f"msg and data together are {size} bytes; the limit is {hub.limits.max_message_bytes}",
        )
    if id_:
        _check_id(hub, request)
    if hub.rates and rate_key and (wait_s := hub.rates.take(rate_key)):
        raise RequestError(
            ErrorCode.RATE_LIMITED,
            f"the limit is {hub.limits.rate:g} messages a second; try again in {wait_s:.3f} s",
            retry_after_s=wait_s,
        )
    return Entry(author, relayed(author.name, msg), data, id_)


def _check_id(hub: Hub, request: Request) -> None:
    if len(request.id) > hub.limits.max_id_bytes or utf8_bytes(request.id) > hub.limits.max_id_bytes:
        raise RequestError(
            ErrorCode.MALFORMED, f"id is {utf8_bytes(request.id)} bytes long; the limit is {hub.limits.max_id_bytes}"
        )
