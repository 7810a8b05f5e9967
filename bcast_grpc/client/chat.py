"""A place in a room: what one says and what one hears."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import grpc

from bcast_grpc.client.backlog import Backlog
from bcast_grpc.client.calls import DEFAULT_TARGET, call_metadata, check_target
from bcast_grpc.client.inbox import Inbox
from bcast_grpc.client.stream import Stream
from bcast_grpc.errors import BcastError, ChatClosed, RequestError
from bcast_grpc.events import Ack, Error, Event, Member, Members, Request

_MAX_BACKLOG_BYTES = 16 * 1024 * 1024
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

    All that others send is received at once, and kept until it is taken by ``async for``. That ends when the server
    ends the call well, or after ``leave()``; it raises ``CallError`` or ``ConnectionLost`` where the call ended
    otherwise; either way only after all that was received before. It can be broken off and begun again without loss.
    While there are events it goes on without waiting, but lets other tasks have a turn every 5 ms.

    If ``max_buffered`` events (or 64 MiB) wait to be taken, the chat stops reading, so that the server's policy for
    slow clients decides. But where nobody takes events at all, or not while an answer is awaited that comes after them,
    the oldest events are dropped, and a ``GAP`` event in their place tells which.

    It belongs to the event loop that it was entered in, and is not for other threads: ``connect_sync()`` is.

    Args:
        target: ``HOST:PORT``, port 50051 where it is left out, or a gRPC name such as ``unix:/run/bcast.sock``.
        name: what others see; empty for none.
        room: ``lobby`` if empty.
        client: a stable id of your own (a UUID, say): a second chat with it in the same room replaces the first.
        events: which notices to receive: words of ``welcome``, ``joined``, ``left``, ``progress``, or ``all``, or
            ``none``. The server's default is ``left``.
        echo: receive one's own messages too.
        token: what the server takes for permission.
        credentials: for TLS: ``grpc.ssl_channel_credentials()``.
        max_backlog: how many posts may be without an acknowledgement; also, no more than 16 MiB of them.
        max_buffered: how many events may wait to be taken, 2 or more.
        connect_timeout_s: how long ``async with`` waits for the server's answer.

    Raises:
        ValueError: an argument does not fit.

    Attributes:
        session: one's own public session id. As the next two, it is empty until the chat is entered.
        room: the room's name.
        epoch: the name of the room's order.
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
        max_backlog: int = 10_000,
        max_buffered: int = 100_000,
        connect_timeout_s: float = 10.0,
    ) -> None:
        self.session = ""
        self.room = ""
        self.epoch = ""
        self._target = check_target(target)
        self._metadata = call_metadata(name=name, room=room, client=client, events=events, echo=echo, token=token)
        self._credentials = credentials
        self._connect_timeout_s = connect_timeout_s
        self._backlog = Backlog(max_backlog, _MAX_BACKLOG_BYTES)
        self._inbox = Inbox(max_buffered, _MAX_BUFFERED_BYTES)
        self._events = self._inbox.events
        self._until_look = 0
        self._turn_until = 0.0
        self._stream: Stream | None = None
        self._leaving = False
        self._loss_told = False

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            CallError: the server refused.
            ConnectionLost: there is no server, or none that answers in time.
        """
        if self._stream is not None:
            raise RuntimeError("this chat was entered before; connect again for another")
        self._stream = stream = await Stream.open(
            self._target, self._credentials, self._metadata, self._connect_timeout_s, self._backlog, self._inbox
        )
        self.session, self.room, self.epoch = stream.session, stream.room, stream.epoch
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave; at once, without waiting for anything, if there was an error."""
        try:
            if kind is None:
                await self.leave()
        finally:
            self._leaving = True
            await self._entered().close()

    # --- what one says

    async def send(self, text: str = "", *, data: bytes = b"", id: str = "") -> Ack:  # noqa: A002  # the contract's name
        """Send to all others in the room, and wait for the acknowledgement.

        Where the wait is given up (a timeout, say) the message may have been sent all the same.

        Args:
            text: for people.
            data: for programs, relayed unread.
            id: chosen by the library where it is empty.

        Raises:
            RequestError: the server refused this message; the chat goes on.
            CallError: the call ended before the answer came.
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
            BacklogFull: too many posts are not acknowledged yet. ``await flush()`` waits for them.
            RequestError: it is larger than what can be sent at all.
            CallError: the call has ended.
            ConnectionLost: the same, for want of a server.
            ChatClosed: the chat was left, or has ended.
            ValueError: ``id`` is in use by a request that is not answered yet.
        """
        stream = self._running()
        self._backlog.post(Request(msg=text, data=data, id=id))
        self._wake(stream)

    async def flush(self) -> None:
        """Wait until all that was posted before is acknowledged, or refused.

        Raises:
            CallError: the call ended before that.
            ConnectionLost: the same, for want of a server.
            ChatClosed: the server ended the call well, but before that.
        """
        stream = self._entered()
        try:
            if not stream.over:
                await self._backlog.flushed()
            elif self._backlog.unacknowledged:
                stream.raise_error()
                raise ChatClosed("the chat ended before the server acknowledged all")
        except BcastError:
            self._loss_told = True
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

        What was received can still be taken afterwards. To leave again does nothing.

        Raises:
            CallError: the call ended before all that was posted was acknowledged, and ``flush()`` has not told so.
            ConnectionLost: the same, for want of a server.
        """
        stream = self._entered()
        self._leaving = True
        if not self._loss_told:
            await self.flush()
        if answers := self._backlog.answers:
            await asyncio.wait(answers)
        await stream.finish()

    # --- what one hears

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._until_look and self._events:
            self._until_look -= 1
            return self._events.popleft()
        return await self._next()

    async def _next(self) -> Event:
        stream = self._entered()
        clock = asyncio.get_running_loop().time
        turn_over = not self._events or clock() >= self._turn_until
        if self._events and turn_over:
            await asyncio.sleep(0)
        stream.taking()
        while not self._events:
            if stream.over:
                stream.raise_error()
                raise StopAsyncIteration
            await stream.change()
        if turn_over:
            self._turn_until = clock() + _TURN_S
        self._until_look = _EVENTS_A_LOOK
        return self._events.popleft()

    # --- the rest

    async def _ask(self, request: Request) -> Event:
        stream = self._running()
        answer = self._backlog.ask(request)
        self._wake(stream)
        event = await answer
        if isinstance(event.detail, Error):
            raise RequestError(event.detail.code, event.detail.reason, retry_after_s=event.detail.retry_after_s)
        return event

    def _wake(self, stream: Stream) -> None:
        stream.wake()

    def _entered(self) -> Stream:
        if self._stream is None:
            raise ChatClosed("this chat is not open; enter it by a `with` statement")
        return self._stream

    def _running(self) -> Stream:
        stream = self._entered()
        stream.raise_error()
        if stream.over or self._leaving:
            raise ChatClosed
        return stream


connect = Chat
"""Connect to a server: ``async with connect("127.0.0.1:50051", name="ana") as chat``."""
