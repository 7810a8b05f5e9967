"""Clients at the door for gRPC: the generated stub, and nothing else of the project."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import grpc

from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.v1 import chat_pb2_grpc
from tests.integration.peers import Ending

from .client import SILENCE_S, Caller, bearer, channel_to, data_of, id_of, text_of
from .guard import Guard
from .records import Acked, Came, Place, Present, Refused, Saw, Step, Told, Welcomed, Went

_CHANNEL = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.http2.bdp_probe", 0),  # so that what a frozen client does not read is soon felt by the server
    ("grpc.http2.lookahead_bytes", 16 * 1024),
]


class GrpcCaller(Caller):
    """A client that holds a ``Connect``."""

    door = "grpc"

    async def _visit(self) -> str:
        async with channel_to(self.cable.address, self.guard, _CHANNEL) as channel:
            call = self._call(chat_pb2_grpc.ChatStub(channel))  # type: ignore[no-untyped-call]
            writing: asyncio.Task[None] | None = None
            try:
                while True:
                    await self._thawed.wait()
                    async with asyncio.timeout(self.silence_s):
                        frame = await call.read()
                    if frame is grpc.aio.EOF:
                        await call.code()
                        return "OK" if self._leaving else "OK_UNASKED"
                    for event in frame.batch or [frame]:
                        if step := _read(event, self.record.key):
                            self._hear(step)
                    self._bell.ring()
                    if self.speaks and self.here and not writing:
                        writing = asyncio.create_task(self._write(call))
            except grpc.aio.AioRpcError as error:
                ending = Ending.of(error)
                return ending.reason or f"status {ending.code.name.lower()}"
            except TimeoutError:
                return "silence"
            finally:
                if writing:
                    writing.cancel()

    def _call(self, stub: chat_pb2_grpc.ChatStub) -> Any:
        return stub.Connect(metadata=self._metadata())

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        key = self.record.key
        pairs = {"room": self.room, "client": key, "events": "all", "echo": f"{self.record.echo:d}"}
        if self.record.named:
            pairs["name"] = key
        if self._batch:
            pairs["batch"] = "1"
        if self.place:
            pairs["after"] = f"{self.place.epoch}:{self.place.seq}"
        return (*((f"bcast-{key}", value) for key, value in pairs.items()), *bearer(self._token()))

    async def _write(self, call: Any) -> None:
        async def send(texts: Sequence[str]) -> None:
            if token := self._due_token():
                await call.write(pb.ConnectRequest(operacion="auth", msg=token))
            requests = [pb.ConnectRequest(msg=text, data=data_of(text), id=id_of(text)) for text in texts]
            await call.write(pb.ConnectRequest(batch=requests) if self._batch else requests[0])

        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await call.write(pb.ConnectRequest(operacion="who", id="who"))
            await self._speak(send)
            await call.write(pb.ConnectRequest(operacion="leave"))


class Reader(GrpcCaller):
    """A client that only reads, by ``Subscribe``."""

    speaks = False

    def _call(self, stub: chat_pb2_grpc.ChatStub) -> Any:
        return stub.Subscribe(pb.SubscribeRequest(), metadata=self._metadata())


async def count_members(address: str, room: str, guard: Guard | None) -> int:
    """Come into a room, and return how many are there; 0 if that is not possible now."""
    token = bearer(guard.token("counter", lasting=True)) if guard else ()
    try:
        async with asyncio.timeout(SILENCE_S), channel_to(address, guard, _CHANNEL) as channel:
            call = chat_pb2_grpc.ChatStub(channel).Subscribe(  # type: ignore[no-untyped-call]
                pb.SubscribeRequest(), metadata=(("bcast-room", room), ("bcast-events", "welcome"), *token)
            )
            return int((await call.read()).welcome.members)
    except (grpc.aio.AioRpcError, TimeoutError):
        return 0


def _read(event: pb.ConnectResponse, key: str) -> Step | None:
    match event.kind:
        case pb.EVENT_KIND_WELCOME:
            return Welcomed(Place(event.welcome.epoch, event.seq), event.welcome.resumed)
        case pb.EVENT_KIND_MESSAGE:
            return Saw(event.seq, text_of(event.message, event.sender, event.data))
        case pb.EVENT_KIND_ACK:
            ack = event.ack
            return Acked(f"{key}/{event.id}", Place(ack.epoch, ack.seq), ack.duplicate)
        case pb.EVENT_KIND_ERROR:
            return Refused(f"{key}/{event.id}", pb.ErrorCode.Name(event.error.code))
        case pb.EVENT_KIND_GAP:
            reason = pb.GapReason.Name(event.gap.reason).removeprefix("GAP_REASON_")
            return Told(event.gap.first_missed, event.gap.last_missed, reason)
        case pb.EVENT_KIND_JOINED:
            return Came(event.sender)
        case pb.EVENT_KIND_LEFT:
            return Went(event.sender)
        case pb.EVENT_KIND_MEMBERS:
            return Present(frozenset(member.name for member in event.members.members if member.name))
    return None
