"""A client in a process of its own, to be killed or frozen: ``lone_client.py ADDRESS NAME``."""

from __future__ import annotations

import asyncio
import sys

import grpc

from bcast_grpc.v1.chat_pb2_grpc import ChatStub


async def main(address: str, name: str) -> None:
    """Connect, say so, then only listen."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = ChatStub(channel)  # type: ignore[no-untyped-call]
        call = stub.Connect(metadata=[("bcast-name", name)])
        await call.initial_metadata()
        print("in", flush=True)  # noqa: T201
        async for _ in call:
            pass


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
