"""Renews the token of a bench client on its running call, if the token comes from a file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import grpc

from bcast_grpc.client.renewal import Renewal
from bcast_grpc.client.token import Tokens
from bcast_grpc.errors import CallError
from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.wire.protobuf import decode_events

Write = Callable[[bytes], Awaitable[None]]


class Renewing:
    """The renewals of one call.

    Args:
        tokens: where new ones come from.
        write: writes a frame to the call; one at a time, so everything that the client sends goes through ``write``
            of this.
    """

    def __init__(self, tokens: Tokens, write: Write) -> None:
        self._renewal = Renewal(tokens)
        self._write = write
        self._one_at_a_time = asyncio.Lock()
        self._task = asyncio.create_task(self._renewal.keep(self._present, _ignore))
        self._presenting: asyncio.Task[None] | None = None

    async def write(self, frame: bytes) -> None:
        """Write a frame of the client's own."""
        async with self._one_at_a_time:
            await self._write(frame)

    def hear(self, answer: pb.ConnectResponse) -> bool:
        """Take what is about tokens; False if the event is something else."""
        if answer.kind == pb.EVENT_KIND_EXPIRING:
            self._renewal.expiring()
            return True
        if "." not in answer.id:  # those of messages are numbers
            return False
        return self._renewal.resolve(decode_events(answer.SerializeToString())[0])

    def stop(self) -> None:
        """Stop renewing."""
        self._task.cancel()
        if self._presenting:
            self._presenting.cancel()

    def _present(self) -> None:
        self._presenting = asyncio.create_task(self._write_renewal(self._renewal.take()))

    async def _write_renewal(self, frame: bytes) -> None:
        # If the call has ended, its reader finds out why.
        with suppress(grpc.aio.AioRpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
            await self.write(frame)


def _ignore(_: CallError) -> None:
    """Do nothing: another attempt follows, and if none succeeds the call ends with the reason."""
