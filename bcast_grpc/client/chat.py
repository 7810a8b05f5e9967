"""A place in a room: what one says and what one hears."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import grpc

from bcast_grpc.client import fork
from bcast_grpc.client.backoff import Backoff
from bcast_grpc.client.connection import Connection
from bcast_grpc.client.cursor import Cursor
from bcast_grpc.client.dial import DEFAULT_TARGET, Dialer, check_target
from bcast_grpc.client.dispatcher import Dispatcher
from bcast_grpc.client.inbox import Inbox
from bcast_grpc.client.unanswered import Unanswered
from bcast_grpc.errors import BcastError, ChatClosed, RequestError
from bcast_grpc.events import Ack, Error, Event, Member, Members, Request

_MAX_UNANSWERED_BYTES = 16 * 1024 * 1024
_MAX_BUFFERED_BYTES = 64 * 1024 * 1024

# Taking an event that is there waits for nothing, so other tasks get a turn now and then; a clock costs as much as an
# event, so it is looked at now and then.
_TURN_S = 0.005
_EVENTS_A_LOOK = 64


class Chat:
    """A client in one room, from ``async with`` to its end.

    ::

        async with bcast_grpc.connect("127.0.0.1:50051", name="ana", room="dev") as chat:
            await chat.send("hola")
            async for event in chat:
                print(event.message)

    All that others send is received at once, and kept until it is taken by ``async for``. That ends after ``leave()``;
    it raises ``CallError`` or ``ConnectionLost`` where the chat ended otherwise; either way only after all that was
    received before. It can be broken off and begun again without loss. While there are events it goes on without
    waiting, but lets other tasks have a turn every 5 ms.

    A connection that is lost comes back: the chat tries again, later each time, goes on after the last message that it
    received, and sends again, in order, what was not acknowledged; the server knows the ids of what it has already.
    Nobody need care, but the iteration tells: ``RECONNECTING`` when it is lost and with each try that failed,
    ``RESUMED`` when it is back, and ``GAP`` where the server no longer has what was missed. The chat ends where the
    server says not to come back (``BcastError.retryable``), where its answer proves that it is no such server or that
    one is not let in, or after ``max_downtime_s``. Whatever else ends a stream, the chat comes back, also after what a
    proxy answers meanwhile in HTTP. Only ``async with`` itself has a single try.

    If ``max_buffered`` events (or 64 MiB) wait to be taken, the chat stops reading, so that the server's policy for
    slow clients decides. But where nobody takes events at all, or not while an answer is awaited that comes after them,
    the oldest events are dropped, and a ``GAP`` event in their place tells which.

    It belongs to the event loop that it was entered in, and is not for other threads: ``connect_sync()`` is. It belongs
    to its process as well: in one that is forked while it is open, it raises ``ChatClosed``, and a new chat
    ``CallError``; connect after the fork, or use ``spawn`` or ``forkserver``.

    Args:
        target: ``HOST:PORT``, port 50051 where it is left out, or a gRPC name such as ``unix:/run/bcast.sock``.
        name: what others see; empty for none.
        room: ``lobby`` if empty.
        client: a stable id of your own: a second chat with it in the same room replaces the first. A random UUID if
            empty.
        events: which notices to receive: words of ``welcome``, ``joined``, ``left``, ``progress``, or ``all``, or
            ``none``. The server's default is ``left``.
        echo: receive one's own messages too.
        token: what the server takes for permission.
        credentials: for TLS: ``grpc.ssl_channel_credentials()``.
        history: how many of the room's last messages to receive first.
        max_backlog: how many requests may be without an answer, while there is no connection too; also, no more than
            16 MiB of them. Then ``send()`` waits and ``post()`` raises.
        max_buffered: how many events may wait to be taken, 2 or more.
        connect_timeout_s: how long each try to connect waits for the server's answer.
        max_downtime_s: how long to try again without success until the chat ends; 0 for not at all, for ever if
            ``None``.
        first_retry_s: how long to wait, at most, before the first try; that doubles with each try, and the wait is a
            random part of it.
        max_retry_s: how far it doubles. A server may ask for more.
        leave_timeout_s: how long leaving waits without an answer, and then for the server to end the call.

    Raises:
        ValueError: an argument does not fit.

    Attributes:
        client: one's own stable id.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        name: str = "",
        room: str = "",
        client: str = "",
        events: str | Iterable[str] | None = None,
        echo: bool = False,
        token: str = "",
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
        dialer = Dialer(
            target=check_target(target),
            credentials=credentials,
            room=room,
            client=self.client,
            events="left" if events is None else events if isinstance(events, str) else ",".join(events),
            echo=echo,
            token=token,
            history=history,
            timeout_s=connect_timeout_s,
        )
        dialer.metadata(name, None)  # raises here what does not fit
        inbox = Inbox(max_buffered, _MAX_BUFFERED_BYTES)
        cursor = Cursor(history=history, echo=echo)
        self._unanswered = Unanswered(max_backlog, _MAX_UNANSWERED_BYTES)
        self._dispatcher = Dispatcher(self._unanswered, inbox, cursor, wants_welcome=dialer.wants_welcome)
        backoff = Backoff(first_retry_s, max_retry_s)
        self._connection = Connection(
            dialer, name, self._unanswered, self._dispatcher, backoff, max_downtime_s, leave_timeout_s
        )
        self._events = inbox.events
        self._until_look = 0
        self._turn_until = 0.0
        self._is_open = False
        self._leaving = False
        self._loss_reported = False
        self._is_inherited = False

    async def __aenter__(self) -> Self:
        """Connect, with a single try.

        Raises:
            CallError: the server refused.
            ConnectionLost: there is no server, or none that answers in time.
        """
        fork.check()
        if self._is_open:
            raise RuntimeError("this chat was entered before; connect again for another")
        fork.own(self)
        await self._connection.open()
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave; at once, without waiting for anything, if there was an error."""
        if self._is_inherited and kind is not None:  # an error of its own ends the child's share
            return
        try:
            if kind is None:
                await self.leave()
        finally:
            self._leaving = True
            await self._entered().close()

    def disown(self) -> None:
        """Say so to whoever uses this chat in a process that was forked: it stays the parent's."""
        self._is_inherited = True
        self._until_look = 0

    @property
    def session(self) -> str:
        """One's own public session id, of the last connection; as the next two, it is empty until there was one."""
        return self._dispatcher.info.session

    @property
    def room(self) -> str:
        """The room's name."""
        return self._dispatcher.info.room

    @property
    def epoch(self) -> str:
        """The name of the room's order."""
        return self._dispatcher.info.epoch

    # --- what one says

    async def send(self, text: str = "", *, data: bytes = b"", id: str = "") -> Ack:  # noqa: A002  # the contract's name
        """Send to all others in the room, and wait for the acknowledgement; as long as there is no connection, too.

        Where the wait is given up (a timeout, say) the message may have been sent all the same, or be sent later.

        Args:
            text: for people.
            data: for programs, relayed unread.
            id: chosen by the library where it is empty.

        Raises:
            RequestError: the server refused this message; the chat goes on.
            CallError: the chat ended before the answer came.
            ConnectionLost: the same, for want of a server.
            ChatClosed: the chat was left, or has ended.
            ValueError: ``id`` is in use by a request that is not answered yet.
        """
        event = await self._ask(Request(msg=text, data=data, id=id))
        return event.detail if isinstance(event.detail, Ack) else Ack()

    def post(self, text: str = "", *, data: bytes = b"", id: str = "") -> None:  # noqa: A002  # the contract's name
        """Send to all others in the room, without waiting for anything.

        A message that the server refuses comes back as an ``ERROR`` event.

        Args:
            text: for people.
            data: for programs, relayed unread.
            id: chosen by the library where it is empty.

        Raises:
            BacklogFull: too much is not acknowledged yet. ``await flush()`` waits for it.
            RequestError: it is larger than what can be sent at all.
            CallError: the chat has ended.
            ConnectionLost: the same, for want of a server.
            ChatClosed: the chat was left, or has ended.
            ValueError: ``id`` is in use by a request that is not answered yet.
        """
        self._check_running()
        self._unanswered.post(Request(msg=text, data=data, id=id))
        self._wake()

    async def flush(self) -> None:
        """Wait until all that was posted before is acknowledged, or refused.

        Raises:
            CallError: the chat ended before that.
            ConnectionLost: the same, for want of a server.
            ChatClosed: the server ended the call well, but before that.
        """
        connection = self._entered()
        try:
            if not connection.over:
                await self._unanswered.flushed()
            elif self._unanswered.unacknowledged:
                connection.raise_error()
                raise ChatClosed("the chat ended before the server acknowledged all")
        except BcastError:
            self._loss_reported = True
            raise

    async def rename(self, name: str) -> None:
        """Be called ``name`` from now on.

        Raises:
            RequestError: the name does not fit.
            BcastError: as for ``send()``.
        """
        await self._ask(Request("join", name))

    async def members(self) -> tuple[Member, ...]:
        """Ask who is here.

        Raises:
            BcastError: as for ``send()``.
        """
        event = await self._ask(Request("who"))
        return event.detail.members if isinstance(event.detail, Members) else ()

    async def leave(self) -> None:
        """Leave: wait for all answers, then receive what is on its way to here.

        What was received can still be taken afterwards. To leave again does nothing. Without a connection there is
        nothing to wait for, unless something is not answered: then it is tried to get one for ``max_downtime_s``, or
        ``leave_timeout_s`` where that is ``None``. A server that answers nothing for ``leave_timeout_s``, or that long
        does not end the call, is given up: the call is cancelled, and the iteration ends with ``ConnectionLost``.

        Raises:
            CallError: the chat ended before all that was posted was acknowledged, and ``flush()`` has not told so.
            ConnectionLost: the same, for want of a server.
        """
        connection = self._entered()
        self._leaving = True
        connection.leave()
        await connection.until_answered()
        if not self._loss_reported:
            await self.flush()
        await connection.finish()

    # --- what one hears

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
            raise ChatClosed("this chat is not open; enter it by a `with` statement")
        return self._connection

    def _check_running(self) -> None:
        connection = self._entered()
        connection.raise_error()
        if connection.over or self._leaving:
            raise ChatClosed


connect = Chat
"""Connect to a server: ``async with connect("127.0.0.1:50051", name="ana") as chat``."""
