"""The beginning of a call: the server lets us in, or says why not."""

from __future__ import annotations

import asyncio
from urllib.parse import unquote

import grpc

from bcast_grpc.client.address import Address
from bcast_grpc.client.dispatcher import SessionInfo
from bcast_grpc.client.endings import error_of, lost, no_answer
from bcast_grpc.client.status import GrpcCall, Status, status_of
from bcast_grpc.client.tls import Tls
from bcast_grpc.errors import CallError, ConnectionLost, ErrorCode


async def wait_until_let_in(call: GrpcCall, address: Address, timeout_s: float, tls: Tls | None = None) -> SessionInfo:
    """Wait for the server's initial metadata, and decode it.

    Args:
        call: ``Connect``.
        address: the server.
        timeout_s: how long to wait.
        tls: how the server is authenticated; used to find out why that failed, which gRPC does not always say.

    Raises:
        CallError: the server refused the client, or it is no bcast_grpc server.
        ConnectionLost: there is no server, it is not trusted, or it did not answer in time.
    """
    try:
        return await _wait(call, str(address), timeout_s)
    except ConnectionLost:
        if tls and (why := await tls.explain(address)):
            raise lost(str(address), why, connected=False) from None
        raise


async def _wait(call: GrpcCall, target: str, timeout_s: float) -> SessionInfo:
    try:
        async with asyncio.timeout(timeout_s):
            metadata = await call.initial_metadata()
            if metadata.get("bcast-session"):
                return SessionInfo(*(unquote(str(metadata.get(f"bcast-{field}", ""))) for field in SessionInfo._fields))
            status = await _status_of_stranger(call)
    except TimeoutError:
        raise no_answer(target, timeout_s) from None
    if status and status.code() is not grpc.StatusCode.OK:
        raise error_of(status, target, connected=False)
    what = "the call ended at once" if status else "its answer lacks bcast-session"
    raise CallError(ErrorCode.UNSPECIFIED, f"no bcast_grpc server at {target}: {what}", retryable=True)


async def _status_of_stranger(call: GrpcCall) -> Status | None:
    """The status of a call that was answered without our metadata; ``None`` if it does not end."""
    try:
        if await call.read() is not grpc.aio.EOF:
            return None
    except Status:
        pass
    return await status_of(call)
