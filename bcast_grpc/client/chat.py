"""The client library: a chat in one room, for ``asyncio``.

This module is long because half of it is documentation for users: the docstrings of ``connect`` and ``Chat``.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

import grpc

from bcast_grpc.client import fork
from bcast_grpc.client.address import DEFAULT_TARGET, Address, read_targets, wants_tls
from bcast_grpc.client.backoff import Backoff
from bcast_grpc.client.choice import Choice
from bcast_grpc.client.connection import Connection
from bcast_grpc.client.cursor import Cursor
from bcast_grpc.client.dial import Dialer
from bcast_grpc.client.dispatcher import Dispatcher
from bcast_grpc.client.inbox import Inbox
from bcast_grpc.client.patience import Patience
from bcast_grpc.client.renewal import Renewal
from bcast_grpc.client.tls import Tls
from bcast_grpc.client.token import Token, Tokens
from bcast_grpc.client.unanswered import Unanswered
from bcast_grpc.errors import BcastError, ChatClosed, RequestError
from bcast_grpc.events import Ack, Error, Event, Member, Members, Request

_MAX_UNANSWERED_BYTES = 16 * 1024 * 1024
_MAX_BUFFERED_BYTES = 64 * 1024 * 1024

# Taking an event that is there does not wait, so other tasks are given a turn every _TURN_S. Reading the clock costs as
# much as taking an event, so it is read once for so many events.
_TURN_S = 0.005
_EVENTS_A_LOOK = 64


class Chat:
    """A client in one room, from ``async with`` to its end.

    ::

        async with bcast_grpc.connect("127.0.0.1:50051", name="ana", room="dev") as chat:
            await chat.send("hola")
            async for event in chat:
                print(event.message)

    What others send is received in the background, and kept until the application takes it with ``async for``.
    The iteration ends after ``leave()``. If the chat ends in any other way, the iteration raises ``CallError`` or
    ``ConnectionLost``, after it has given out everything that was received before. You may break out of it and begin
    again without loss. While events are there it does not wait, but it lets other tasks run every 5 ms.

    When the connection is lost, the chat reconnects: it waits longer before each attempt, resumes after the last
    message it received, and sends again, in order, every request that was not answered. The server recognises the ids
    of those it has already. An application need not care, but the iteration reports it: ``RECONNECTING`` when the
    connection is lost and after each failed attempt, ``RESUMED`` when it is back, and ``GAP`` where the server no
    longer has what was missed. The first connection is attempted once. After that the client reconnects until it
    succeeds, or until ``max_downtime_s`` has passed. It stops at once if the server says not to come back (see
    ``BcastError.retryable``), or if the answer proves that this is no bcast_grpc server, or that it will not let this
    client in. HTTP answers of a proxy prove neither.

    Of several servers it begins with a random one, and stays with it while it works. Each attempt tries each of them
    once, at most: first those that did not fail, and the lost one last. One that does not answer holds up the next for
    half a second. A server that asked for a longer pause is left alone meanwhile, but no other is. If the others do
    not share its rooms, their order is another one, and the iteration yields a ``GAP``. A request that a server cannot
    carry out because its store is away (``BROKER_UNAVAILABLE``) is sent to another one, with the same id; it fails if
    that one cannot either.

    If ``max_buffered`` events (or 64 MiB) are waiting, the chat stops reading, and the server's policy for slow
    clients decides. Two cases would deadlock, so there the oldest events are dropped and replaced by a ``GAP``: you
    never iterate, or you await an answer that is queued behind events you are not reading.

    A chat belongs to the event loop in which it was entered, and may not be used from other threads: use
    ``connect_sync()`` for that. It also belongs to its process. In a process that is forked while it is open it raises
    ``ChatClosed``, and a new chat raises ``CallError``: connect after the fork, or use ``spawn`` or ``forkserver``.

    Args:
        target: ``HOST:PORT`` (the port is 50051 if left out), ``grpcs://HOST:PORT`` for TLS, or a gRPC name such as
            ``unix:/run/bcast.sock``. Several servers that share their rooms are separated by commas, or are the
            addresses of one name: the chat connects to one of them, and goes on at another.
        name: the name that others see; empty for none.
        room: ``lobby`` if empty.
        client: a stable id of your own: a second chat with the same id in the same room replaces the first. A random
            UUID if empty.
        events: the notices to receive: any of ``welcome``, ``joined``, ``left``, ``progress`` and ``expiring``, or
            ``all``, or ``none``. The default is ``left``.
        echo: receive your own messages too.
        token: the token that authenticates the client; or a function that returns one, ``async`` or not, such as
            ``bcast_grpc.TokenFile(path)``. It is called for each attempt to connect, and before the token expires:
            then the chat presents the new one on the running connection. If it fails, an ``ERROR`` event says so, and
            it is called again. A function that is not ``async`` is called in a thread of its own.
        tls: use TLS, even if the target does not say so: ``bcast_grpc.Tls(ca="ca.pem")``.
        credentials: gRPC's own credentials, in place of ``tls``.
        history: how many of the room's last messages to receive first.
        max_backlog: how many requests may be unanswered, also while there is no connection; they may hold 16 MiB.
            Beyond that ``send()`` waits and ``post()`` raises ``BacklogFull``.
        max_buffered: how many received events may wait to be taken; 2 or more.
        connect_timeout_s: how long each attempt to connect waits for the server's answer; for each of several servers.
        max_downtime_s: how long to reconnect without success before the chat ends; 0 for never reconnecting, ``None``
            for no limit.
        first_retry_s: the upper bound of the pause before the first attempt to reconnect. The bound doubles with each
            attempt, and the pause is a random part of it.
        max_retry_s: the largest bound. A server may ask for a longer pause; of several, all of them.
        leave_timeout_s: how long ``leave()`` waits for an answer, and then for the server to end the call.

    Raises:
        ValueError: an argument is wrong; the text says what would be right.

    Attributes:
        client: the stable id of this client.
    """

    def __init__(
        self,
        target: str | Sequence[str] = DEFAULT_TARGET,
        *,
        name: str = "",
        room: str = "",
        client: str = "",
        events: str | Iterable[str] | None = None,
        echo: bool = False,
        token: Token = "",
        tls: Tls | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        history: int = 0,
        max_backlog: int = 10_000,
        max_buffered: int = 100_000,
        connect_timeout_s: float = 10.0,
        max_downtime_s: float | None = None,
        first_retry_s: float = 0.1,
        max_retry_s: float = 10.0,
        leave_timeout_s: float = 10.0,
    ) -> None:
        self.client = client or str(uuid.uuid4())
        choice = Choice[Address]()
        dialer = Dialer(
            addresses=read_targets(target),
            choice=choice,
            credentials=credentials,
            tls=tls or (Tls() if wants_tls(target) else None),
            room=room,
            client=self.client,
            events="left" if events is None else events if isinstance(events, str) else ",".join(events),
            echo=echo,
            tokens=Tokens(token, connect_timeout_s),
            history=history,
            timeout_s=connect_timeout_s,
        )
        dialer.check(name)
        inbox = Inbox(max_buffered, _MAX_BUFFERED_BYTES)
        cursor = Cursor(history=history, echo=echo)
        self._unanswered = Unanswered(max_backlog, _MAX_UNANSWERED_BYTES)
        renewal = Renewal(dialer.tokens)
        self._dispatcher = Dispatcher(
            self._unanswered,
            inbox,
            cursor,
            renewal,
            lambda: max_downtime_s != 0 and choice.has_other,
            wants_welcome=dialer.wants_welcome,
            wants_expiring=dialer.wants_expiring,
        )
        patience = Patience(self._unanswered, Backoff(first_retry_s, max_retry_s), max_downtime_s, leave_timeout_s)
        self._connection = Connection(dialer, name, self._unanswered, self._dispatcher, renewal, patience)
        self._events = inbox.events
        self._until_look = 0
        self._turn_until = 0.0
        self._is_open = False
        self._leaving = False
        self._loss_reported = False
        self._is_inherited = False

    async def __aenter__(self) -> Self:
        """Connect. This is attempted once.

        Raises:
            CallError: the server refused the connection.
            ConnectionLost: no server was reached, or it did not answer in time.
        """
        fork.check()
        if self._is_open:
            raise RuntimeError("a chat can be entered only once; call connect() again for another")
        fork.own(self)
        await self._connection.open()
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the room; after an error, without waiting for anything."""
        if self._is_inherited and kind is not None:  # the child has an error of its own to report
            return
        try:
            if kind is None:
                await self.leave()
        finally:
            self._leaving = True
            await self._entered().close()

    def disown(self) -> None:
        """Refuse to work from now on: this is a forked process, and the chat is its parent's."""
        self._is_inherited = True
        self._until_look = 0

    @property
    def target(self) -> str:
        """The address of the server of the last connection; empty before the first."""
        return self._connection.target

    @property
    def session(self) -> str:
        """The public session id of the last connection; like ``room`` and ``epoch`` it is empty before the first."""
        return self._dispatcher.info.session

    @property
    def room(self) -> str:
        """The name of the room."""
        return self._dispatcher.info.room

    @property
    def epoch(self) -> str:
        """The epoch of the room's order."""
        return self._dispatcher.info.epoch

    # --- sending

    async def send(self, text: str = "", *, data: bytes = b"", id: str = "") -> Ack:  # noqa: A002  # the contract's name
        """Send a message to all others in the room, and wait until the server has acknowledged it.

        Without a connection, the message waits for one. If you cancel the wait (with a timeout, say), the message may
        have been sent already, or may be sent later.

        Args:
            text: for people.
            data: for programs; the server relays it unread.
            id: identifies the message; the library chooses one if it is empty.

        Raises:
            RequestError: the server refused this message; the chat goes on.
            CallError: the server ended the chat before it answered.
            ConnectionLost: the connection was lost for good before the server answered.
            ChatClosed: the chat was left, or has ended.
            ValueError: ``id`` is in use by a request that is not answered yet.
        """
        event = await self._ask(Request(msg=text, data=data, id=id))
        return event.detail if isinstance(event.detail, Ack) else Ack()

    def post(self, text: str = "", *, data: bytes = b"", id: str = "") -> None:  # noqa: A002  # the contract's name
        """Send a message to all others in the room, without waiting for anything.

        If the server refuses the message, the iteration yields an ``ERROR`` event with its ``id``.

        Args:
            text: for people.
            data: for programs; the server relays it unread.
            id: identifies the message; the library chooses one if it is empty.

        Raises:
            BacklogFull: too many requests are unanswered; ``await flush()`` waits for the answers.
            RequestError: the message is larger than any server accepts.
            CallError: the server has ended the chat.
            ConnectionLost: the connection was lost for good.
            ChatClosed: the chat was left, or has ended.
            ValueError: ``id`` is in use by a request that is not answered yet.
        """
        self._check_running()
        self._unanswered.post(Request(msg=text, data=data, id=id))
        self._wake()

    async def flush(self) -> None:
        """Wait until every message posted so far is acknowledged or refused.

        Raises:
            CallError: the server ended the chat before that.
            ConnectionLost: the connection was lost for good before that.
            ChatClosed: the server ended the call without an error, but before that.
        """
        connection = self._entered()
        try:
            if not connection.over:
                await self._unanswered.flushed()
            elif self._unanswered.unacknowledged:
                connection.raise_error()
                raise ChatClosed("the chat ended before the server acknowledged every message")
        except BcastError:
            self._loss_reported = True
            raise

    async def rename(self, name: str) -> None:
        """Change the name that others see.

        Raises:
            RequestError: the server refused the name; the chat goes on.
            BcastError: as for ``send()``.
        """
        await self._ask(Request("join", name))

    async def members(self) -> tuple[Member, ...]:
        """Ask who is in the room.

        Raises:
            BcastError: as for ``send()``.
        """
        event = await self._ask(Request("who"))
        return event.detail.members if isinstance(event.detail, Members) else ()

    async def leave(self) -> None:
        """Leave the room: wait for all answers, then receive what is still on its way.

        Events that were received can still be taken afterwards. Leaving again does nothing.

        Without a connection there is nothing to wait for, unless a request is unanswered: then the chat tries to
        reconnect for ``max_downtime_s``, or for ``leave_timeout_s`` if that is ``None``. If the server answers nothing
        for ``leave_timeout_s``, or does not end the call for that long, the call is cancelled and the iteration ends
        with ``ConnectionLost``.

        Raises:
            CallError: the server ended the chat before every posted message was acknowledged, and ``flush()`` has not
                raised that already.
            ConnectionLost: likewise, because the connection was lost for good.
        """
        connection = self._entered()
        self._leaving = True
        connection.leave()
        await connection.until_answered()
        if not self._loss_reported:
            await self.flush()
        await connection.finish()

    # --- receiving

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._until_look and self._events:
            self._until_look -= 1
            return self._events.popleft()
        return await self._next()

    async def _next(self) -> Event:
        connection = self._entered()
        clock = asyncio.get_running_loop().time
        turn_over = not self._events or clock() >= self._turn_until
        if self._events and turn_over:
            await asyncio.sleep(0)
        self._dispatcher.taking()
        while not self._events:
            if connection.over:
                connection.raise_error()
                raise StopAsyncIteration
            await self._dispatcher.change()
        if turn_over:
            self._turn_until = clock() + _TURN_S
        self._until_look = _EVENTS_A_LOOK
        return self._events.popleft()

    # --- the rest

    async def _ask(self, request: Request) -> Event:
        self._check_running()
        answer = self._unanswered.ask(request)
        self._wake()
        event = await answer
        if isinstance(event.detail, Error):
            raise RequestError(event.detail.code, event.detail.reason, retry_after_s=event.detail.retry_after_s)
        return event

    def _wake(self) -> None:
        self._connection.wake()

    def _entered(self) -> Connection:
        if self._is_inherited:
            raise fork.not_ours()
        if not self._is_open:
            raise ChatClosed("this chat is not open; enter it with `async with` (or `with`, for connect_sync)")
        return self._connection

    def _check_running(self) -> None:
        connection = self._entered()
        connection.raise_error()
        if connection.over or self._leaving:
            raise ChatClosed


connect = Chat
"""Connect to a server: ``async with connect("127.0.0.1:50051", name="ana") as chat``."""
