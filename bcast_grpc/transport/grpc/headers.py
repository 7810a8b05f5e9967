"""What a call begins and ends with: gRPC's meaning of HTTP/2 header fields."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias
from urllib.parse import quote

from google.rpc import code_pb2, status_pb2

from bcast_grpc.http2 import encode
from bcast_grpc.http2.fields import SECRETS, Fields
from bcast_grpc.transport.grpc.messages import ENCODINGS, StatusError

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]

_TIMEOUT = re.compile("([0-9]{1,8})([HMSmun])", re.ASCII).fullmatch
_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_CONTENT_TYPE = re.compile(r"application/grpc(?:[+;].*)?", re.ASCII | re.IGNORECASE | re.DOTALL).fullmatch
_OF_THE_TRANSPORT = frozenset({"te", "content-type", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding"})
_ONCE = _OF_THE_TRANSPORT - {"grpc-accept-encoding"}
_BINARY = "-bin"
_ALSO_TAKEN = ("grpc-accept-encoding", ",".join(ENCODINGS))
_BEGIN = encode([(":status", "200"), ("content-type", "application/grpc"), _ALSO_TAKEN])
_HEADS_KEPT = 128
_UNQUOTED = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


class Head(NamedTuple):
    """What a call begins with.

    Attributes:
        path: the method, as ``/SERVICE/METHOD``.
        timeout_s: how long the client waits for the end of the call; None for no limit.
        encoding: how its messages may be compressed; one of ``ENCODINGS``.
        metadata: the client's own fields. Those whose name ends with ``-bin`` are bytes.
        secrets: those of them that let somebody in, apart from the others, which many calls share.
    """

    path: str
    timeout_s: float | None
    encoding: str
    metadata: Metadata
    secrets: Metadata = ()

    def without_secrets(self) -> Head:
        """Return what may be kept as long as the call lasts."""
        return self._replace(secrets=()) if self.secrets else self


class NotGrpc(Exception):
    """A request is not a gRPC call.

    Attributes:
        text: what is wrong with it.
        fields: the header fields of the answer, encoded.
        has_body: whether the answer has the text as its body.
    """

    def __init__(self, status: int, text: str, *fields: tuple[str, str], has_body: bool = True) -> None:
        super().__init__(text)
        self.text = text
        self.fields = encode([(":status", str(status)), ("content-type", "text/plain; charset=utf-8"), *fields])
        self.has_body = has_body


def read_head(fields: Fields, *, secret: bool = True) -> Head:
    """Read what a call begins with.

    Args:
        fields: of the request.
        secret: whether one of them may let somebody in.

    Raises:
        NotGrpc: it is not one.
        StatusError: the call cannot be served.
    """
    if not secret:
        return _read_head(fields)
    head = _read_head(tuple(field for field in fields if field[0] not in SECRETS))
    return head._replace(secrets=tuple(field for field in fields if field[0] in SECRETS))


@lru_cache(maxsize=_HEADS_KEPT)
def _read_head(fields: Fields) -> Head:
    """Most clients of a kind begin their calls with the same."""
    known = dict(fields)
    if (method := known.get(":method")) != "POST":
        text = f"this port serves gRPC, whose calls use the method POST, not {method}"
        raise NotGrpc(405, text, ("allow", "POST"), has_body=method != "HEAD")
    if not _CONTENT_TYPE(known.get("content-type", "")):
        raise NotGrpc(415, "this port serves gRPC, whose calls have the content-type application/grpc")
    _check_once(fields)
    encoding = known.get("grpc-encoding", "identity")
    if encoding not in ENCODINGS:
        raise StatusError(
            code_pb2.UNIMPLEMENTED,
            f"grpc-encoding: {encoding[:32]!r} is not supported; use {', '.join(ENCODINGS)}",
        )
    return Head(known[":path"], _timeout_s(known.get("grpc-timeout")), encoding, _metadata(fields))


def _check_once(fields: Fields) -> None:
    names = [name for name, _ in fields if name in _ONCE]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise StatusError(code_pb2.INTERNAL, f"{repeated}: is given twice; it must be given once")


def _timeout_s(text: str | None) -> float | None:
    if text is None:
        return None
    match = _TIMEOUT(text)
    if not match:
        raise StatusError(
            code_pb2.INTERNAL, f"grpc-timeout: {text[:32]!r} must be up to 8 digits and a unit, such as 500m or 10S"
        )
    return int(match[1]) * _SECONDS[match[2]]


def _metadata(fields: Iterable[tuple[str, str]]) -> Metadata:
    return tuple(
        (name, _decode_binary(name, value) if name.endswith(_BINARY) else value)
        for name, value in fields
        if not name.startswith(":") and name not in _OF_THE_TRANSPORT
    )


def _decode_binary(name: str, value: str) -> bytes:
    """Decode a binary value; the padding may be missing, and values of one name may be joined by commas."""
    try:
        return b",".join(
            b64decode(part + "=" * (-len(part) % 4), validate=True) for part in value.replace(" ", "").split(",")
        )
    except (Base64Error, ValueError):
        raise StatusError(code_pb2.INTERNAL, f"{name[:64]}: must be base64") from None


def first_fields(metadata: Metadata = ()) -> bytes:
    """Return the first fields of the answer to a call, encoded."""
    return _BEGIN + encode(_to_fields(metadata)) if metadata else _BEGIN


def last_fields(code: int, message: str = "", metadata: Metadata = ()) -> bytes:
    """Return the last fields of the answer to a call, encoded.

    Args:
        code: the number of the gRPC status.
        message: why the call ends; any text.
        metadata: further fields.
    """
    fields = [("grpc-status", str(code))]
    if message:
        fields.append(("grpc-message", quote(message, safe=_UNQUOTED, errors="replace")))
    return encode([*fields, *_to_fields(metadata)])


def details(status: status_pb2.Status) -> Metadata:
    """Return the field with the details of a status."""
    return [("grpc-status-details-bin", status.SerializeToString())]


def _to_fields(metadata: Metadata) -> Iterable[tuple[str, str]]:
    for name, value in metadata:
        yield name, value if isinstance(value, str) else b64encode(value).rstrip(b"=").decode()
