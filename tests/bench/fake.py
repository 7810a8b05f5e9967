"""A server that does not keep what is promised."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.v1 import chat_pb2_grpc


def honest(author: int, receiver: int, events: list[pb.ConnectResponse]) -> list[pb.ConnectResponse]:
    """To all but the author."""
    return events if author != receiver else []


class Fake(chat_pb2_grpc.ChatServicer):
    """Relays each frame to all in the room as ``deliver(author, receiver, events)`` wants it.

    Attributes:
        heard: set when the first message has come.
        throw_out: an error code to end all calls with once it has.
    """

    def __init__(self, deliver: Callable[[int, int, list[pb.ConnectResponse]], list[pb.ConnectResponse]]) -> None:
        self.heard = asyncio.Event()
        self.throw_out = ""
        self._deliver = deliver
        self._calls: dict[int, tuple[str, asyncio.Queue[pb.ConnectResponse]]] = {}

    async def Connect(  # noqa: N802, D102
        self, requests: AsyncIterator[pb.ConnectRequest], context: Any
    ) -> AsyncIterator[pb.ConnectResponse]:
        number, queue = len(self._calls), asyncio.Queue[pb.ConnectResponse]()
        self._calls[number] = dict(context.invocation_metadata())["bcast-room"], queue
        await context.send_initial_metadata((("bcast-session", f"{number}"),))
        reading = asyncio.create_task(self._read(number, requests))
        try:
            while True:
                yield await queue.get()
                if self.throw_out:
                    await context.abort_with_status(rpc_status.to_status(_status(self.throw_out)))
        finally:
            reading.cancel()

    async def _read(self, author: int, requests: AsyncIterator[pb.ConnectRequest]) -> None:
        async for frame in requests:
            sent = frame.batch or [frame]
            events = [pb.ConnectResponse(kind=pb.EVENT_KIND_MESSAGE, data=request.data) for request in sent]
            acks = [pb.ConnectResponse(kind=pb.EVENT_KIND_ACK, id=request.id) for request in sent if request.id]
            room = self._calls[author][0]
            for receiver, (other_room, queue) in self._calls.items():
                told = self._deliver(author, receiver, events) if room == other_room else []
                queue.put_nowait(pb.ConnectResponse(batch=[*told, *(acks if author == receiver else ())]))
            self.heard.set()


def _status(reason: str) -> status_pb2.Status:
    detail = Packed()
    detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="bcast_grpc"))
    code: int = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    return status_pb2.Status(code=code, message="enough", details=[detail])


@asynccontextmanager
async def serving(fake: Fake) -> AsyncIterator[str]:
    """Serve; gives the address."""
    server = grpc.aio.server()
    chat_pb2_grpc.add_ChatServicer_to_server(fake, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
