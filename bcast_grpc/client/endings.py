"""Why a call ended, and whether to reconnect.

Two kinds of status are final: one in which a bcast_grpc server says so, and one which proves that this is no such
server or that it will not let us in. Anything else may be caused by something between client and server, so another
attempt may succeed. That includes HTTP answers, because they come from a proxy and not from the server.
"""

from __future__ import annotations

import re

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from bcast_grpc.client.status import PROVISIONAL
from bcast_grpc.errors import BcastError, CallError, ConnectionLost, ErrorCode

_DOMAIN = "bcast_grpc"

# How gRPC describes an HTTP answer that does not come from a gRPC server.
_HTTP_STATUS = re.compile(r"Received http2 header with status: (\d+)")
_HTTP_1 = re.compile(r"http1\.x server \(HTTP status (\d+)\)")
_RESET = "RST_STREAM with error code"
_REFUSALS = ("401", "403")


class NoChatServer(CallError):
    """What answered is another kind of server."""


def error_of(status: grpc.aio.AioRpcError, target: str, *, connected: bool) -> BcastError:
    """Turn the status of a call into an error of this project; its ``retryable`` says whether to reconnect.

    Args:
        status: the status that gRPC reports.
        target: the address of the server, for the text.
        connected: whether the server had let the client in.
    """
    details = status.details() or status.code().name
    code, retryable, retry_after_s = _read_details(status)
    if code is not None:
        return CallError(code, details, retry_after_s=retry_after_s, retryable=retryable)
    code = _code_of_refusal(status.code(), details)
    if code is not None:
        retryable = _HTTP_STATUS.search(details) is not None
        if status.code() is grpc.StatusCode.UNIMPLEMENTED:
            return NoChatServer(code, f"no bcast_grpc server at {target}: {details}", retryable=retryable)
        return CallError(code, _cause(details), retryable=retryable)
    return lost(target, _cause(details), connected=connected, retry_after_s=retry_after_s)


def lost(target: str, cause: str, *, connected: bool, retry_after_s: float = 0.0) -> ConnectionLost:
    """The error of a connection to ``target`` that failed or was lost."""
    what = f"the connection to {target} was lost" if connected else f"cannot connect to {target}"
    return ConnectionLost(f"{what}: {cause}", retry_after_s=retry_after_s)


def no_answer(target: str, timeout_s: float) -> ConnectionLost:
    """The error of a server that did not answer in time."""
    return ConnectionLost(f"no answer from {target} within {timeout_s:g} s")


def _code_of_refusal(status: grpc.StatusCode, details: str) -> ErrorCode | None:
    """The code for a final status without our ``ErrorInfo``; ``None`` if it is not final."""
    http = _HTTP_STATUS.search(details)
    if _RESET in details or (http and http[1] not in _REFUSALS):
        return None
    match status:
        case grpc.StatusCode.UNIMPLEMENTED:
            return ErrorCode.UNSPECIFIED
        case grpc.StatusCode.UNAUTHENTICATED:
            return ErrorCode.UNAUTHENTICATED
        case grpc.StatusCode.PERMISSION_DENIED:
            return ErrorCode.PERMISSION_DENIED
        case grpc.StatusCode.RESOURCE_EXHAUSTED if "message larger than max" in details:
            return ErrorCode.MESSAGE_TOO_LARGE  # the same message would be too large again
        case _:
            return None


def _cause(details: str) -> str:
    """The useful part of gRPC's chain of causes: the last one, or the reason of TLS."""
    if http := _HTTP_STATUS.search(details):
        return f"the answer was HTTP {http[1]}, not gRPC; it may come from a proxy"
    if http := _HTTP_1.search(details):
        return f"the answer was HTTP/1 {http[1]}, not gRPC; use grpcs:// if the server speaks TLS"
    if details == PROVISIONAL:
        return "the call ended, and gRPC did not keep its status"
    if _RESET in details:
        return f"the stream was reset on the way ({details.removesuffix('))').rpartition('(')[2]})"
    details = details.removesuffix(": OK").rstrip("]")
    _, handshake, fault = details.partition("OPENSSL_internal:")
    return f"the TLS handshake failed: {fault}" if handshake else details.rpartition(": ")[2]


def _read_details(status: grpc.aio.AioRpcError) -> tuple[ErrorCode | None, bool | None, float]:
    """Read what a server of this project attaches: the code, whether to reconnect, and how many seconds to wait first.

    The code is ``None`` for other servers; ``retryable`` is ``None`` where the server leaves that to the code.
    """
    code, retryable, retry_after_s = None, None, 0.0
    for detail in _rich_status(status).details:
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info) and info.domain == _DOMAIN:
            # A newer server may have codes that this version has no name for.
            code = ErrorCode.__members__.get(info.reason, ErrorCode.UNSPECIFIED)
            retryable = {"true": True, "false": False}.get(info.metadata.get("retryable", ""))
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
    return code, retryable, retry_after_s


def _rich_status(status: grpc.aio.AioRpcError) -> status_pb2.Status:
    try:
        found = rpc_status.from_call(status)  # type: ignore[arg-type]  # it has all that is needed of a call
        return found or status_pb2.Status()
    except (ValueError, DecodeError):  # something on the way changed or invented it
        return status_pb2.Status()
