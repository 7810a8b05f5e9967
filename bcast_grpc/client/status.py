"""The status with which the server ended a call."""

from __future__ import annotations

import asyncio
from typing import TypeAlias, cast

import grpc

GrpcCall: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"
Status: TypeAlias = grpc.aio.AioRpcError

PROVISIONAL = "Internal error from Core"
"""The details of the status that gRPC makes up if a write fails because the call has ended."""

_PAUSES_S = (0.0, 0.001, 0.01, 0.1, 0.5)


class FinalStatus:
    """The server's status of a call.

    A write that fails because the call has ended replaces the server's status by one of its own, or precedes it
    (https://github.com/grpc/grpc/issues/36066). So the status is read as soon as the call has ended; if it is not the
    server's yet, that is awaited for a short time.
    """

    def __init__(self, call: GrpcCall) -> None:
        self._call = call
        self._kept: Status | None = None
        call.add_done_callback(self._keep)

    async def wait(self) -> Status:
        """Wait until the call has ended."""
        status = self._kept or await status_of(self._call)
        for pause_s in _PAUSES_S:
            if not _is_provisional(status):
                break
            await asyncio.sleep(pause_s)
            status = await status_of(self._call)
        return status

    def _keep(self, call: GrpcCall) -> None:
        if self._kept is None or _is_provisional(self._kept):
            self._kept = _status_of_ended(call)


async def status_of(call: GrpcCall) -> Status:
    """Wait until a call has ended, and return the status that gRPC has now."""
    code, details = await call.code(), await call.details()
    return Status(code, await call.initial_metadata(), await call.trailing_metadata(), details)


def _is_provisional(status: Status) -> bool:
    return status.code() is grpc.StatusCode.INTERNAL and status.details() == PROVISIONAL


def _status_of_ended(call: GrpcCall) -> Status | None:
    """Return the status of a call that has ended, without waiting: the coroutine has nothing to wait for."""
    reading = status_of(call)
    try:
        reading.send(None)
    except StopIteration as finished:
        return cast("Status", finished.value)
    reading.close()
    return None
