"""Clients as a stranger would write them: the generated stubs, and nothing else of the project."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self, TypeAlias, TypeVar
from urllib.parse import quote

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from grpc_status import rpc_status

from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.v1 import chat_pb2_grpc

T = TypeVar("T")

SCALE = float(os.environ.get("TEST_TIMEOUT_SCALE", "1"))
"""For machines slower than most: stretches every time that a test waits at the longest."""

PATIENCE_S = 15 * SCALE
"""How long to wait, at the longest, for what must come."""

START_S = 4 * PATIENCE_S
"""The same for a process to begin: that takes a second of CPU, of which there is little while much begins at once."""

Event: TypeAlias = pb.ConnectResponse
Pair: TypeAlias = tuple[str, str | bytes]

_OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]


async def within(awaitable: Awaitable[T]) -> T:
    """Wait for what must come."""
    async with asyncio.timeout(PATIENCE_S):
        return await awaitable


async def begun(first: Awaitable[T]) -> T:
    """Wait for the first that a process says, or for all of it from one that ends by itself."""
    async with asyncio.timeout(START_S):
        return await first


async def eventually(true: Callable[[], bool], *, every_s: float = 0.005, patience_s: float = PATIENCE_S) -> None:
    """Wait for what must become true and tells nobody when it does; look so often, as it costs to look."""
    async with asyncio.timeout(patience_s):
        while not true():  # noqa: ASYNC110  # there is no event to wait for
            await asyncio.sleep(every_s)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended: its status, and what its details say to a program.

    Attributes:
        reason: of ``google.rpc.ErrorInfo``; empty if there is none.
        before: the events that were still read before the end.
    """

    code: StatusCode
    text: str = ""
    reason: str = ""
    domain: str = ""
    retryable: bool = False
    retry_after_s: float = 0.0
    before: tuple[Event, ...] = ()

    @classmethod
    def of(cls, error: grpc.aio.AioRpcError, before: Iterable[Event] = ()) -> Self:
        """Read the status that an error carries."""
        info = error_details_pb2.ErrorInfo()
        retry = error_details_pb2.RetryInfo()
        status: status_pb2.Status | None = rpc_status.from_call(error)  # type: ignore[arg-type]  # it has what it takes
        for detail in status.details if status else ():
            detail.Unpack(info)
            detail.Unpack(retry)
        return cls(
            error.code(),
            error.details() or "",
            info.reason,
            info.domain,
            info.metadata["retryable"] == "true",
            retry.retry_delay.ToTimedelta().total_seconds(),
            tuple(before),
        )


class Peer:
    """One stream, over a connection of its own.

    Attributes:
        call: the stream itself, of ``Connect`` or ``Subscribe``.
        heard: every event so far.
    """

    def __init__(self, call: Any) -> None:
        self.call = call
        self.heard: list[Event] = []
        self.metadata: dict[str, str] = {}
        self._unread: deque[Event] = deque()
        self._answers: list[Event] = []

    @property
    def session(self) -> str:
        """The public session id that the server gave."""
        return self.metadata["bcast-session"]

    @property
    def epoch(self) -> str:
        """The epoch of the room at the arrival."""
        return self.metadata["bcast-epoch"]

    async def arrive(self) -> Self:
        """Wait until the server says that the client is in."""
        self.metadata = dict(await within(self.call.initial_metadata()))
        assert self.metadata, await self.end()
        return self

    async def say(self, msg: str = "", *, data: bytes = b"", id: str = "") -> None:  # noqa: A002
        """Broadcast."""
        await self.send(pb.ConnectRequest(msg=msg, data=data, id=id))

    async def ask(self, operacion: str, msg: str = "", *, id: str = "") -> None:  # noqa: A002
        """Send any request."""
        await self.send(pb.ConnectRequest(operacion=operacion, msg=msg, id=id))

    async def send(self, frame: pb.ConnectRequest) -> None:
        """Send a frame."""
        await within(self.call.write(frame))

    async def half_close(self) -> None:
        """Say that nothing more will be sent."""
        await within(self.call.done_writing())

    async def frame(self) -> pb.ConnectResponse:
        """Read the next frame as it comes."""
        frame = await within(self.call.read())
        assert frame is not grpc.aio.EOF, "the stream has ended"
        assert isinstance(frame, pb.ConnectResponse)
        return frame

    async def hear(self) -> Event:
        """Read the next event."""
        if not self._unread:
            frame = await self.frame()
            self._unread.extend(frame.batch or [frame])
        event = self._unread.popleft()
        self.heard.append(event)
        if event.id:
            self._answers.append(event)
        return event

    async def hear_some(self, count: int) -> list[Event]:
        """Read so many events."""
        return [await self.hear() for _ in range(count)]

    async def hear_until(self, message: str) -> list[Event]:
        """Read up to the event with this text, and return what came before it."""
        events: list[Event] = []
        while (event := await self.hear()).message != message:
            events.append(event)
        return events

    async def answer(self, id: str) -> Event:  # noqa: A002
        """Return the answer to the request ``id``; answers to several requests may come in any order."""
        while not (found := [event for event in self._answers if event.id == id]):
            await self.hear()
        self._answers.remove(found[0])
        return found[0]

    async def end(self, parse: Callable[[Any], Event] = lambda event: event) -> Ending:
        """Read to the end of the stream; ``parse`` makes events of what a raw one gives."""
        before: list[Event] = []
        try:
            while True:
                frame = await within(self.call.read())
                if frame is grpc.aio.EOF:
                    return Ending(StatusCode.OK, before=tuple(before))
                event = parse(frame)
                before += event.batch or [event]
        except grpc.aio.AioRpcError as error:
            return Ending.of(error, before)

    def cancel(self) -> None:
        """Break the call off."""
        self.call.cancel()


class Door:
    """An address of a server, and the clients that come through it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.credentials: grpc.ChannelCredentials | None = None
        self._channels: list[grpc.aio.Channel] = []

    def channel(self, address: str = "") -> grpc.aio.Channel:
        """Open a connection."""
        address = address or self.address
        if self.credentials:
            channel = grpc.aio.secure_channel(address, self.credentials, _OWN_CONNECTION)
        else:
            channel = grpc.aio.insecure_channel(address, _OWN_CONNECTION)
        self._channels.append(channel)
        return channel

    def stub(self, channel: grpc.aio.Channel | None = None) -> chat_pb2_grpc.ChatStub:
        """Return the service's stub on a connection of its own, or on the one given."""
        return chat_pb2_grpc.ChatStub(channel or self.channel())  # type: ignore[no-untyped-call]

    def raw(self, method: str = "Connect", pairs: Iterable[Pair] = ()) -> Any:
        """Open a stream that takes and gives bytes as they are."""
        return self.channel().stream_stream(f"/bcast_grpc.v1.Chat/{method}")(metadata=tuple(pairs))

    def open(self, name: str = "", pairs: Iterable[Pair] = (), on: grpc.aio.Channel | None = None, **keys: str) -> Peer:
        """Begin a ``Connect``, without waiting.

        Args:
            name: the value of ``bcast-name``, to be percent-encoded.
            pairs: metadata as it is to be sent.
            on: a connection to share.
            **keys: other keys without ``bcast-``, such as ``room="dev"``; their values are percent-encoded too.
        """
        return Peer(self.stub(on).Connect(metadata=_metadata(name, pairs, keys)))

    def open_reader(self, name: str = "", pairs: Iterable[Pair] = (), **keys: str) -> Peer:
        """Begin a ``Subscribe``, without waiting."""
        return Peer(self.stub().Subscribe(pb.SubscribeRequest(), metadata=_metadata(name, pairs, keys)))

    async def connect(self, name: str = "", on: grpc.aio.Channel | None = None, **keys: str) -> Peer:
        """Connect, and wait until the server says that the client is in."""
        return await self.open(name, (), on, **keys).arrive()

    async def subscribe(self, name: str = "", **keys: str) -> Peer:
        """Subscribe, and wait until the server says that the client is in."""
        return await self.open_reader(name, (), **keys).arrive()

    async def publish(
        self, msg: str = "", *, data: bytes = b"", name: str = "", pairs: Iterable[Pair] = (), **keys: str
    ) -> pb.Ack:
        """Publish, and return the ack: by then the message is in all queues."""
        request = pb.PublishRequest(msg=msg, data=data)
        call = self.stub().Publish(request, metadata=_metadata(name, pairs, keys))
        response: pb.PublishResponse = await within(call)
        return response.ack

    async def publish_in_vain(self, msg: str = "", **options: Any) -> Ending:
        """Publish what the server will not take, and return the status."""
        try:
            ack = await self.publish(msg, **options)
        except grpc.aio.AioRpcError as error:
            return Ending.of(error)
        raise AssertionError(f"it was taken: {ack}")

    async def close(self) -> None:
        """Close all connections."""
        for channel in self._channels:
            await channel.close()


def _metadata(name: str, pairs: Iterable[Pair], keys: dict[str, str]) -> tuple[Pair, ...]:
    named = {"name": name, **keys} if name else keys
    return (*((f"bcast-{key}", quote(value, safe="")) for key, value in named.items()), *pairs)
