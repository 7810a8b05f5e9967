"""A server of the contract in this process: one room with history, resumption and deduplication, and faults at will."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Self, TypeAlias
from urllib.parse import unquote

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import (
    Ack,
    Author,
    Closing,
    Error,
    Event,
    Gap,
    GapReason,
    Kind,
    Members,
    Request,
    Welcome,
    relayed,
)
from bcast_grpc.wire.protobuf import decode_requests, encode_batches
from tests.ports import ReservedPort

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Metadata: TypeAlias = dict[str, str]


class Refusal(NamedTuple):
    """A status that ends a call, or keeps one out."""

    status: grpc.StatusCode
    text: str
    reason: str = ""
    retryable: bool | None = None
    retry_after_s: float = 0.0

    async def end(self, context: Context) -> None:
        """End the call with it."""
        status = status_pb2.Status(code=self.status.value[0], message=self.text)
        if self.reason:
            info = error_details_pb2.ErrorInfo(reason=self.reason, domain="bcast_grpc")
            if self.retryable is not None:
                info.metadata["retryable"] = str(self.retryable).lower()
            status.details.add().Pack(info)
        if self.retry_after_s:
            delay = Duration()
            delay.FromNanoseconds(round(self.retry_after_s * 1e9))
            status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        await context.abort_with_status(rpc_status.to_status(status))


GONE = Refusal(grpc.StatusCode.UNAVAILABLE, "Socket closed")
FULL = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room", "SERVER_FULL", retryable=True)
REPLACED = Refusal(grpc.StatusCode.ABORTED, "replaced", "REPLACED", retryable=False)


class Entry(NamedTuple):
    """A message in its place; ``client`` said it, nobody of the tests' clients where that is empty."""

    seq: int
    client: str
    event: Event


class Member:
    """One call, and what is to be written to it: frames, then how it ends."""

    def __init__(self, client: str, name: str, *, echo: bool) -> None:
        self.client = client
        self.name = name
        self.echo = echo
        self.outbox: asyncio.Queue[Event | Refusal | None] = asyncio.Queue()


class FakeServer:
    """One room.

    Attributes:
        calls: the metadata of all calls.
        log: the messages of this epoch.
        logs: those of all epochs, by name.
        refusals: how the next calls are refused.
        drop_before: how many requests from now on are not taken, and end their call.
        kept_from: the place of the first message that is kept.
        drop_after: how many are taken, and end their call before the answer.
        is_deaf: no request is answered.
        away_calls: all requests of so many first calls are answered with ``BROKER_UNAVAILABLE``.
    """

    def __init__(self, doors: int = 1) -> None:
        self._ports = [ReservedPort() for _ in range(doors)]
        self.calls: list[Metadata] = []
        self.epoch = ""
        self.logs: dict[str, list[Entry]] = {}
        self.refusals: deque[Refusal] = deque()
        self.drop_before = self.drop_after = self.away_calls = 0
        self.is_mute = self.is_deaf = False
        self.kept_from = 1
        self._known: dict[tuple[str, str], int] = {}
        self._members: list[Member] = []
        self._server: grpc.aio.Server | None = None
        self._happened = asyncio.Event()
        self.begin_anew()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        for port in self._ports:
            port.close()

    @property
    def target(self) -> str:
        """Where it is; with several doors, as if there were several servers that share the room."""
        return ",".join(f"127.0.0.1:{port.number}" for port in self._ports)

    @property
    def log(self) -> list[Entry]:
        """The messages of this epoch."""
        return self.logs[self.epoch]

    @property
    def texts(self) -> list[str]:
        """What clients said in this epoch."""
        return [entry.event.text for entry in self.log if entry.client]

    async def start(self) -> None:
        """Serve, where it was served before."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(self._connect)
        service = grpc.method_handlers_generic_handler("bcast_grpc.v1.Chat", {"Connect": handler})
        self._server.add_generic_rpc_handlers((service,))
        for port in self._ports:
            self._server.add_insecure_port(f"127.0.0.1:{port.number}")
        await self._server.start()

    async def stop(self) -> None:
        """Be gone: all connections are cut."""
        if self._server:
            server, self._server = self._server, None
            await server.stop(None)
        self._members.clear()

    def begin_anew(self) -> None:
        """Forget everything: a new order begins."""
        self.epoch = f"e{len(self.logs) + 1}"
        self.logs[self.epoch] = []
        self._known.clear()
        self.kept_from = 1

    def trim(self) -> None:
        """Keep no history."""
        self.kept_from = len(self.log) + 1

    def drop(self, refusal: Refusal = GONE) -> None:
        """End all calls, without what waits for them."""
        for member in self._members:
            while not member.outbox.empty():
                member.outbox.get_nowait()
            member.outbox.put_nowait(refusal)
        self._members.clear()

    def say(self, text: str) -> int:
        """Let somebody else say something; its place."""
        return self._publish("", "bob", text)

    def close(self, reconnect_after_s: float) -> None:
        """Tell that the end is near."""
        self._to_all(Event(Kind.CLOSING, "closing", detail=Closing("restart", reconnect_after_s)))

    async def until_called(self, times: int) -> None:
        """Wait for a number of calls, refused ones included."""
        await self._until(lambda: len(self.calls) >= times)

    async def until_said(self, texts: list[str]) -> None:
        """Wait until clients said this in this epoch, and no more."""
        await self._until(lambda: self.texts == texts)

    async def _until(self, seen: Callable[[], bool]) -> None:
        while not seen():
            self._happened.clear()
            await self._happened.wait()

    # --- a call

    async def _connect(self, _: object, context: Context) -> None:
        given = {key: unquote(str(value)) for key, value in context.invocation_metadata() or ()}
        self.calls.append(given)
        self._happened.set()
        if self.refusals:
            await self.refusals.popleft().end(context)
        for other in [each for each in self._members if each.client == given["bcast-client"]]:
            other.outbox.put_nowait(REPLACED)
            self._members.remove(other)
        member = Member(given["bcast-client"], given.get("bcast-name", ""), echo="bcast-echo" in given)
        self._members.append(member)
        self._replay(member, given)
        hello = (("bcast-session", f"s{len(self.calls)}"), ("bcast-room", "dev"), ("bcast-epoch", self.epoch))
        await context.send_initial_metadata(hello)
        reading = asyncio.create_task(self._read(member, context))
        try:
            await self._write(member, context)
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
            if member in self._members:
                self._members.remove(member)

    def _replay(self, member: Member, given: Metadata) -> None:
        head = len(self.log)
        epoch, _, seq = given.get(
            "bcast-after", f"{self.epoch}:{head - int(given.get('bcast-history', '0'))}"
        ).rpartition(":")
        after = max(0, int(seq)) if epoch == self.epoch else 0
        assert after <= head
        gap = None
        if epoch != self.epoch:
            gap = Gap(0, 0, GapReason.NEW_EPOCH)
        elif "bcast-after" in given and after + 1 < self.kept_from:
            gap = Gap(after + 1, self.kept_from - 1, GapReason.TRIMMED)
        resumed = "bcast-after" in given and gap is None
        if self.is_mute:
            return
        detail = Welcome("s", "dev", self.epoch, resumed, len(self._members))
        member.outbox.put_nowait(Event(Kind.WELCOME, "welcome", seq=head, detail=detail))
        if gap:
            member.outbox.put_nowait(Event(Kind.GAP, "gap", detail=gap))
        for entry in self.log[max(after, self.kept_from - 1) :]:
            if entry.client != member.client or member.echo:
                member.outbox.put_nowait(entry.event)

    async def _write(self, member: Member, context: Context) -> None:
        while event := await member.outbox.get():
            if isinstance(event, Refusal):
                await event.end(context)
                return
            ((frame, _),) = encode_batches([event])
            await context.write(frame)

    async def _read(self, member: Member, context: Context) -> None:
        while (frame := await context.read()) is not grpc.aio.EOF:  # type: ignore[comparison-overlap]
            for request in decode_requests(frame):
                if member not in self._members:
                    return
                self._handle(member, request)
        member.outbox.put_nowait(None)

    def _handle(self, member: Member, request: Request) -> None:
        if self.drop_before:
            self.drop_before -= 1
            self.drop()
            return
        if self.is_deaf:
            return
        answer = self._answer(member, request)
        if self.drop_after:
            self.drop_after -= 1
            self.drop()
            return
        member.outbox.put_nowait(answer)

    def _answer(self, member: Member, request: Request) -> Event:
        if len(self.calls) <= self.away_calls:
            detail = Error(ErrorCode.BROKER_UNAVAILABLE, "the store is away", retryable=True)
            return Event(Kind.ERROR, "the store is away", id=request.id, detail=detail)
        if request.operacion == "who":
            return Event(Kind.MEMBERS, "you", id=request.id, detail=Members(()))
        if request.operacion == "join":
            member.name = request.msg
            return Event(Kind.ACK, "done", id=request.id, detail=Ack())
        if not request.msg:
            detail = Error(ErrorCode.EMPTY_MESSAGE, "empty")
            return Event(Kind.ERROR, "empty", id=request.id, detail=detail)
        key = (member.client, request.id)
        duplicate = key in self._known
        seq = self._known[key] if duplicate else self._publish(member.client, member.name, request.msg)
        self._known[key] = seq
        return Event(Kind.ACK, "sent", id=request.id, detail=Ack(seq, self.epoch, duplicate))

    def _publish(self, client: str, name: str, text: str) -> int:
        seq = len(self.log) + 1
        event = Event(Kind.MESSAGE, relayed(name, text), Author("s0", name, ""), seq)
        self.log.append(Entry(seq, client, event))
        self._happened.set()
        for member in self._members:
            if member.client != client or member.echo:
                member.outbox.put_nowait(event)
        return seq

    def _to_all(self, event: Event) -> None:
        for member in self._members:
            member.outbox.put_nowait(event)
