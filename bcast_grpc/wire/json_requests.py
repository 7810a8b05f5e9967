"""The contract's requests in JSON: one value, which is a frame of a WebSocket or was cut out of a stream."""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Iterator
from typing import TypeAlias

from bcast_grpc.events import Request
from bcast_grpc.wire.fields import MalformedFrame as MalformedFrame
from bcast_grpc.wire.json_syntax import COUNTED, count_values, parse
from bcast_grpc.wire.protobuf_requests import MAX_REQUEST_BYTES as MAX_REQUEST_BYTES
from bcast_grpc.wire.protobuf_requests import MAX_REQUESTS, TOO_MANY

Object: TypeAlias = dict[str, object]

SLICE = 64
"""How many requests are decoded in a row; between two slices the caller may pause."""

_NESTED = "batch: a batch cannot contain a batch; put all requests into one list"


def decode_requests(frame: bytes | bytearray | str) -> list[Request]:
    """Decode one JSON value into its requests, in order. What is wrong with one of them is its ``fault``.

    Raises:
        MalformedFrame: it is no JSON, text that is not UTF-8 included; or it holds more than ``MAX_REQUESTS``.
    """
    return [request for requests in read_requests(frame) for request in requests]


def read_requests(frame: bytes | bytearray | str) -> Iterator[list[Request]]:
    """Decode one JSON value into its requests, a slice at a time.

    Raises:
        MalformedFrame: see ``decode_requests``.
    """
    if len(frame) > COUNTED:
        yield from pauses(count_values(frame))
    value = parse(frame)
    del frame
    if type(value) is list:
        items, within_batch = value, True
    elif type(value) is dict and type(batch := value.get("batch")) is list and batch:
        items, within_batch = batch, True
    else:
        items, within_batch = [value], False
    if len(items) > MAX_REQUESTS:
        raise MalformedFrame(TOO_MANY)
    del value
    for start in range(0, len(items), SLICE):
        yield [_request(item, within_batch=within_batch) for item in items[start : start + SLICE]]


def pauses(steps: Iterator[None]) -> Iterator[list[Request]]:
    """Take the steps of a generator, with an empty slice as a pause after each."""
    for _ in steps:
        yield []


def _request(value: object, *, within_batch: bool = False) -> Request:
    if type(value) is not dict:
        return Request(fault=f'a request is an object like {{"msg":"hola"}}, not {_name(value)}')
    try:
        _refuse_batch(value, within_batch)
        return Request(_text(value, "operacion"), _text(value, "msg"), _data(value), _text(value, "id"))
    except _Misfit as misfit:
        id_ = value.get("id")
        return Request(id=id_ if type(id_) is str else "", fault=str(misfit))


class _Misfit(ValueError):
    """A value has the wrong type for its key."""


def _refuse_batch(value: Object, within_batch: bool) -> None:
    batch = value.get("batch")
    if batch is None or batch == []:
        return
    if within_batch and type(batch) is list:
        raise _Misfit(_NESTED)
    raise _Misfit(_misfit("batch", "a list of requests", batch))


def _text(value: Object, key: str) -> str:
    text = value.get(key)
    if type(text) is str:
        return text
    if text is None:
        return ""
    raise _Misfit(_misfit(key, "text", text))


def _data(value: Object) -> bytes:
    text = value.get("data")
    if text is None:
        return b""
    if type(text) is not str:
        raise _Misfit(_misfit("data", "base64 text", text))
    try:
        return _from_base64(text)
    except ValueError:  # binascii.Error is one
        raise _Misfit("data: is not valid base64") from None


def _from_base64(text: str) -> bytes:
    """Decode either alphabet, padded or not."""
    body = text.rstrip("=")
    padded = body + "=" * (-len(body) % 4)
    if text not in (body, padded):
        raise ValueError("padded too much, or too little")
    return a2b_base64(padded.replace("-", "+").replace("_", "/"), strict_mode=True)


def _misfit(key: str, right: str, wrong: object) -> str:
    return f"{key}: must be {right}, not {_name(wrong)}"


def _name(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"
