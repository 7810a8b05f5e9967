"""An event loop whose time costs nothing, and calls whose other side is in the test's hands."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ParamSpec, cast
from urllib.parse import quote

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.memory import MemoryBroker
from bcast_grpc.core.hub import Hub
from bcast_grpc.core.limits import Limits
from bcast_grpc.events import Event, Kind, Request
from bcast_grpc.transport.connections import Connections
from bcast_grpc.transport.door import Shared
from bcast_grpc.transport.grpcio_door import ChatService, Context
from bcast_grpc.transport.liveness import Keepalive
from bcast_grpc.transport.scheduler import LoopScheduler
from bcast_grpc.wire import protobuf

P = ParamSpec("P")


class _Selector(selectors.DefaultSelector):
    """Moves time where the loop would sleep."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; if that is nothing, the time is over at once."""
        if timeout is None:
            return super().select(None)  # only another thread can go on
        ready = super().select(0)
        if not ready:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that never sleeps: when all wait for a time, it is that time."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        """Return the virtual time."""
        return self._clock.now

    def be_busy(self, seconds: float) -> None:
        """Let so much time pass at once, as if the callback at work took it."""
        self._clock.now += seconds


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test's coroutine in a loop whose time costs nothing."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


async def pass_time(seconds: float = 1.0) -> None:
    """Let happen what happens within that time, which costs none."""
    await asyncio.sleep(seconds)  # of virtual time


class Aborted(grpc.aio.AbortError):
    """What gRPC raises in a handler that ends its call with a status."""


class Call:
    """One call, as gRPC's context presents it to a handler; the client's side is in the test's hands.

    Attributes:
        coming: whether the initial metadata can be sent; where not, the server waits with it.
        reading: whether the client reads; where it does not, a write waits.
        fault: what a write raises.
        frames: what was written to it.
        status: what the call ended with; None for OK, or while it goes on.
        metadata: the initial metadata that the server sent.
        task: the handler at work.
    """

    def __init__(self, metadata: Mapping[str, str | bytes]) -> None:
        self.coming = asyncio.Event()
        self.coming.set()
        self.fault: Exception | None = None
        self.reading = asyncio.Event()
        self.reading.set()
        self.frames: list[bytes] = []
        self.status: status_pb2.Status | None = None
        self.metadata: dict[str, str] = {}
        self.task: asyncio.Task[Any]
        self._said = metadata
        self._requests: asyncio.Queue[bytes | Exception] = asyncio.Queue()

    # --- the handler's side

    def invocation_metadata(self) -> list[tuple[str, str | bytes]]:
        """Return what the client said of itself, among what its library adds."""
        return [("user-agent", "a test"), *self._said.items()]

    def peer(self) -> str:
        """Return the other end of the connection."""
        return "ipv4:1.2.3.4:5"

    def auth_context(self) -> dict[str, list[bytes]]:
        """Return that there is no certificate."""
        return {}

    async def send_initial_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        """Take the server's metadata."""
        await self.coming.wait()
        assert not self.frames
        self.metadata = dict(metadata)

    async def read(self) -> object:
        """Return the next frame, or EOF for ever."""
        frame = await self._requests.get()
        if isinstance(frame, Exception):
            raise frame
        if frame is _EOF:
            self._requests.put_nowait(frame)
            return grpc.aio.EOF
        return frame

    async def write(self, frame: bytes) -> None:
        """Take a frame when the client reads."""
        await self.reading.wait()
        if self.fault:
            raise self.fault
        self.frames.append(frame)

    async def abort_with_status(self, status: Any) -> None:
        """End the call."""
        assert self.status is None
        self.status = rpc_status.from_call(cast("grpc.Call", _Ended(status)))
        raise Aborted

    # --- the client's side

    def ask(self, *requests: Request) -> None:
        """Send requests in one frame."""
        self.send(b"".join(map(protobuf.encode_request, requests)))

    def send(self, frame: bytes | Exception) -> None:
        """Send a frame, or have the read of one fail."""
        self._requests.put_nowait(frame)

    def half_close(self) -> None:
        """End the client's side of the stream."""
        self.send(_EOF)

    async def cancel(self) -> None:
        """Be gone: gRPC cancels the handler."""
        self.task.cancel()
        await asyncio.wait([self.task])

    @property
    def events(self) -> list[Event]:
        """The events that were written to the client."""
        return [event for frame in self.frames for event in protobuf.decode_events(frame)]

    @property
    def texts(self) -> list[str]:
        """What a person reads of those."""
        return [event.message for event in self.events]

    @property
    def ended(self) -> bool:
        """Whether the handler has returned."""
        return self.task.done()

    @property
    def reason(self) -> str:
        """The code in the status' ``ErrorInfo``; empty for OK."""
        return self.detail(error_details_pb2.ErrorInfo()).reason if self.status else ""

    def detail(self, kind: Message) -> Any:
        """The detail of that kind in the status, which must be there once."""
        assert self.status is not None
        (packed,) = (one for one in self.status.details if one.Is(kind.DESCRIPTOR))
        packed.Unpack(kind)
        return kind


_EOF = b"the end"


class _Ended:
    """A call that ended with a status, as ``rpc_status`` wants to see it."""

    def __init__(self, status: Any) -> None:
        self._status = status

    def code(self) -> Any:
        return self._status.code

    def details(self) -> Any:
        return self._status.details

    def trailing_metadata(self) -> Any:
        return self._status.trailing_metadata


class Door:
    """The gRPC door with its hub, without gRPC.

    Attributes:
        hub: what is behind it.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.scheduler = LoopScheduler()
        self.hub = Hub(
            MemoryBroker(Retention(messages=0, bytes=0, age_s=0, dedup_s=0)), self.scheduler, limits or Limits()
        )
        self.service = ChatService(Shared(self.hub, self.scheduler, Connections(), Keepalive(20)))

    async def connect(self, *, raw: Mapping[str, str | bytes] | None = None, **said: str) -> Call:
        """Begin a ``Connect``, with these keys, or with ``raw`` metadata."""
        call = self.call(self.service.connect, cast("Any", None), said, raw)
        await pass_time()
        return call

    async def subscribe(self, **said: str) -> Call:
        """Begin a ``Subscribe``."""
        call = self.call(self.service.subscribe, b"", said)
        await pass_time()
        return call

    async def publish(self, frame: bytes, **said: str) -> tuple[Call, bytes | None]:
        """Make a ``Publish``; return its answer, if it has one."""
        call = self.call(self.service.publish, frame, said)
        await pass_time()
        failed = not call.task.done() or call.task.exception() is not None
        return call, None if failed else call.task.result()

    def call(
        self,
        handler: Callable[[Any, Context], Coroutine[Any, Any, Any]],
        request: object,
        said: Mapping[str, str],
        raw: Mapping[str, str | bytes] | None = None,
    ) -> Call:
        """Begin a call; keys are written without ``bcast-``."""
        call = Call(raw or {f"bcast-{key}": quote(value) for key, value in said.items()})
        call.task = asyncio.get_running_loop().create_task(_quietly(handler(request, cast("Context", call))))
        return call


async def _quietly(handler: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await handler
    except Aborted:
        return None


def messages(events: list[Event]) -> list[str]:
    """The texts of the messages among them."""
    return [event.message for event in events if event.kind is Kind.MESSAGE]
