"""A client that holds no stream: it publishes, and tries again until it is told what became of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import grpc

from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.v1 import chat_pb2_grpc
from tests.integration.peers import SCALE, Ending

from .client import Caller, bearer, channel_to, data_of, id_of
from .records import Acked, Place, Refused, Sent

_PATIENCE_S = 2.0 * SCALE
_UNANSWERED = 20
"""Fewer than others may have: it publishes one after the other, and all must be acknowledged soon after the storm."""

_CHANNEL = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
]


class Publisher(Caller):
    """As ``GrpcCaller``, by ``Publish``: it is always here, and gets nothing."""

    door = "grpc"

    def has_come(self, place: Place) -> bool:
        """Say that it misses nothing."""
        return True

    @property
    def congested(self) -> bool:
        """Whether so much is unanswered that it should say nothing more for now."""
        return len(self.unacknowledged) >= _UNANSWERED

    async def _run(self) -> None:
        self.here = True
        self._begin()
        while not self._leaving:
            async with channel_to(self.cable.address, self.guard, _CHANNEL) as channel:
                with suppress(TimeoutError):  # the connection may be half open: try another one
                    await self._publish_all(chat_pb2_grpc.ChatStub(channel))  # type: ignore[no-untyped-call]

    async def _visit(self) -> str:
        raise NotImplementedError("it holds no stream")

    async def _publish_all(self, stub: chat_pb2_grpc.ChatStub) -> None:
        while not self._leaving:
            if self.unacknowledged:
                await self._publish(stub, next(iter(self.unacknowledged)))
            else:
                self._more.clear()
                await self._more.wait()

    async def _publish(self, stub: chat_pb2_grpc.ChatStub, text: str) -> None:
        await self._thawed.wait()
        self.visit.steps.append(Sent(text))
        request = pb.PublishRequest(msg=text, data=data_of(text), id=id_of(text))
        metadata = (("bcast-room", self.room), ("bcast-client", self.record.key), *bearer(self._token()))
        try:
            async with asyncio.timeout(_PATIENCE_S):
                response: pb.PublishResponse = await stub.Publish(request, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            self._fail(text, Ending.of(error))
            await asyncio.sleep(0.05)  # not to knock all the time
        else:
            ack = response.ack
            step = Acked(text, Place(ack.epoch, ack.seq), ack.duplicate)
            self.visit.steps.append(step)
            self._count["acks"] += 1
            self.places[text] = step.place
            del self.unacknowledged[text]
            self._bell.ring()

    def _fail(self, text: str, ending: Ending) -> None:
        self._count["calls that failed"] += 1
        if ending.reason == "BROKER_UNAVAILABLE":
            self.visit.steps.append(Refused(text, ending.reason))
