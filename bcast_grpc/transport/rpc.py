"""The gRPC contract, independent of any engine: the service's name, its metadata, its frames and its statuses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import quote

from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

from bcast_grpc.core.batch import Encoder
from bcast_grpc.core.hello import Hello, read_hello
from bcast_grpc.core.identity import Caller
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.core.session import Session
from bcast_grpc.errors import BcastError, ErrorCode
from bcast_grpc.transport.bearer import bearer_token
from bcast_grpc.transport.percent import percent_decode
from bcast_grpc.transport.proxies import TrustedProxies
from bcast_grpc.wire import protobuf

SERVICE = "bcast_grpc.v1.Chat"

_PREFIX = "bcast-"
_DOMAIN = "bcast_grpc"
BATCHES = Encoder(protobuf.encode_batches, protobuf.MAX_BATCH_BYTES, protobuf.split_batches)
_SINGLY = Encoder(protobuf.encode_singly, 0)

_CODES = {
    ErrorCode.EMPTY_MESSAGE: code_pb2.INVALID_ARGUMENT,
    ErrorCode.MESSAGE_TOO_LARGE: code_pb2.INVALID_ARGUMENT,
    ErrorCode.UNKNOWN_OPERATION: code_pb2.INVALID_ARGUMENT,
    ErrorCode.RATE_LIMITED: code_pb2.RESOURCE_EXHAUSTED,
    ErrorCode.NAME_INVALID: code_pb2.INVALID_ARGUMENT,
    ErrorCode.METADATA_INVALID: code_pb2.INVALID_ARGUMENT,
    ErrorCode.UNAUTHENTICATED: code_pb2.UNAUTHENTICATED,
    ErrorCode.PERMISSION_DENIED: code_pb2.PERMISSION_DENIED,
    ErrorCode.TOKEN_EXPIRED: code_pb2.UNAUTHENTICATED,
    ErrorCode.SERVER_FULL: code_pb2.RESOURCE_EXHAUSTED,
    ErrorCode.SLOW_CONSUMER: code_pb2.RESOURCE_EXHAUSTED,
    ErrorCode.REPLACED: code_pb2.ABORTED,
    ErrorCode.SHUTTING_DOWN: code_pb2.UNAVAILABLE,
    ErrorCode.BROKER_UNAVAILABLE: code_pb2.UNAVAILABLE,
    ErrorCode.INTERNAL: code_pb2.INTERNAL,
    ErrorCode.MALFORMED: code_pb2.INVALID_ARGUMENT,
}


def read_metadata(pairs: Iterable[tuple[str, str | bytes]], limits: Limits) -> Hello:
    """Read who a client is and what it wants from a call's metadata. Keys without our prefix are ignored.

    Raises:
        CallError: ``METADATA_INVALID`` or ``NAME_INVALID``.
    """
    return read_hello(_bcast_pairs(pairs), limits, _PREFIX)


def read_caller(
    pairs: Iterable[tuple[str, str | bytes]], peer: str, proxies: TrustedProxies, certificate: str = ""
) -> Caller:
    """Read what a call shows of who makes it.

    Raises:
        CallError: ``UNAUTHENTICATED``: there is an ``authorization``, but not one token.
    """
    pairs = tuple(pairs)
    token = bearer_token(_values(pairs, "authorization"))
    return Caller(read_peer(pairs, peer, proxies), token, certificate)


def read_peer(pairs: Iterable[tuple[str, str | bytes]], peer: str, proxies: TrustedProxies) -> str:
    """Return the address of the client that makes a call, which trusted proxies tell."""
    if not proxies:
        return peer
    pairs = tuple(pairs)
    return proxies.client(peer, _values(pairs, "forwarded"), _values(pairs, "x-forwarded-for"))


def _values(pairs: Iterable[tuple[str, str | bytes]], name: str) -> list[str]:
    return [str(value) for key, value in pairs if key == name]


def _bcast_pairs(pairs: Iterable[tuple[str, str | bytes]]) -> Iterator[tuple[str, str]]:
    for key, value in pairs:
        if key.startswith(_PREFIX):
            yield key.removeprefix(_PREFIX), percent_decode(key, value)


def initial_metadata(session: Session | Publisher, hello: Hello) -> tuple[tuple[str, str], ...]:
    """Return the initial metadata that answers a call."""
    return (
        ("bcast-session", session.id),
        ("bcast-room", quote(hello.room, safe="")),
        ("bcast-epoch", session.epoch),
    )


def codec_for(hello: Hello) -> Encoder:
    """Return the wire format that the client asked for."""
    return BATCHES if hello.batch else _SINGLY


def status(error: BcastError) -> status_pb2.Status:
    """Return the status for an error: the code, the reason, ``ErrorInfo``, and ``RetryInfo`` if there is a time."""
    status = status_pb2.Status(code=_CODES[error.code], message=error.reason)
    info = error_details_pb2.ErrorInfo(reason=error.code.name, domain=_DOMAIN)
    info.metadata["retryable"] = "true" if error.retryable else "false"
    status.details.add().Pack(info)
    if error.retry_after_s:
        delay = Duration()
        delay.FromNanoseconds(round(error.retry_after_s * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status
