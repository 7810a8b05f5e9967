"""The contract's requests in protobuf.

A parser makes an object of each request before anyone can say that there are too many. So a large frame is first walked
over, and then decoded a slice at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from google.protobuf.message import DecodeError

from bcast_grpc.events import Request
from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.wire.fields import MAX_FIELDS, Field, MalformedFrame, check_number_of_fields, fields

MAX_REQUEST_BYTES = 4 * 1024 * 1024
"""The largest frame of requests that the server accepts: gRPC's own limit."""

MAX_REQUESTS = 16_384
"""The most requests in one frame."""

TOO_MANY = f"more than {MAX_REQUESTS} requests in one frame; put them into several"

_parse = pb.ConnectRequest.FromString  # looking it up takes a fifth of what parsing a small request does
_new = tuple.__new__  # a named tuple's own constructor takes twice as long, and this is made for each request
_BATCH = pb.ConnectRequest.BATCH_FIELD_NUMBER
_TEXT_TAG = pb.ConnectRequest.MSG_FIELD_NUMBER << 3 | 2  # length-delimited
_SHORT = 128  # the size of a shorter text is one byte
_SCALARS = frozenset({field.number for field in pb.ConnectRequest.DESCRIPTOR.fields} - {_BATCH})
_NESTED = "a batch within a batch; put all requests into one list"
_SLICE = 64
_SLICE_BYTES = 8192
SMALL_BYTES = 2048
"""A frame up to this size is decoded at once, whatever is in it."""

_SLICE_SMALL = 128
_PLAIN_BYTES = 16_384
_TAGS = tuple(bytes((byte,)) for byte in (_BATCH << 3 | 2, _BATCH << 3 | 2 | 0x80))  # the other one begins a longer tag
_LARGE_BYTES = 512  # a request of a batch that is larger may be more than it seems
_LOOKED_AT = 1024


def encode_request(request: Request) -> bytes:
    """Encode one request as a piece of a batch frame: pieces are joined with ``b"".join``."""
    return pb.ConnectRequest(
        batch=[pb.ConnectRequest(operacion=request.operacion, msg=request.msg, data=request.data, id=request.id)]
    ).SerializeToString()


def decode_requests(frame: bytes) -> list[Request]:
    """Decode a frame into its requests, in order.

    Raises:
        MalformedFrame: it does not parse, text that is not UTF-8 included; or it holds more than ``MAX_REQUESTS``.
    """
    return [request for requests in read_requests(frame) for request in requests]


def read_requests(frame: bytes) -> Iterator[list[Request]]:
    """Decode a frame into its requests, a slice at a time: none takes more than about a millisecond.

    How many requests a frame has is known before the first is decoded; an empty slice is a pause in counting them. A
    fault within one of them is found when it is its turn.

    Raises:
        MalformedFrame: see ``decode_requests``.
    """
    if len(frame) <= SMALL_BYTES or _is_plain(frame):
        yield _decode(frame)
        return
    items: list[Field] = []
    others = 0
    for field in _fields(frame):
        if field[0] == _BATCH:
            items.append(field)
        else:
            others += 1
        if len(items) > MAX_REQUESTS:
            raise MalformedFrame(TOO_MANY)
        if others > MAX_FIELDS:
            raise MalformedFrame(f"more than {MAX_FIELDS} fields in a frame, beside its batch")
        if len(items) % _LOOKED_AT == 0:
            yield []
    if not items:
        yield _decode(frame)
    items.reverse()
    while items:
        _, begin, body, end = items[-1]
        if end - begin > _LARGE_BYTES:
            items.pop()
            yield [_decode_large(frame, body, end)]
        else:
            yield _decode(frame[begin : _pop_slice(items)])


def _is_plain(frame: bytes) -> bool:
    """Whether a frame holds so little that it need not be walked over: counting bytes takes a thousandth of that."""
    return len(frame) <= _PLAIN_BYTES and sum(map(frame.count, _TAGS)) <= _SLICE_SMALL


def read_small(frames: Iterable[bytes]) -> Iterator[list[Request]]:
    """Decode frames of at most ``SMALL_BYTES``, many in one slice.

    Raises:
        MalformedFrame: one does not parse; the requests before it have been yielded.
    """
    requests: list[Request] = []
    for frame in frames:
        size = len(frame) - 2
        try:
            if 0 < size < _SHORT and frame[0] == _TEXT_TAG and frame[1] == size:
                # A short text alone, as most are: the parser takes three times as long.
                requests.append(_new(Request, ("", frame[2:].decode(), b"", "", "")))
            else:
                requests += _decode(frame)
        except ValueError as error:
            if requests:
                yield requests
            raise error if isinstance(error, MalformedFrame) else _malformed(error) from None
        if len(requests) >= _SLICE_SMALL:
            yield requests
            requests = []
    if requests:
        yield requests


def _fields(frame: bytes) -> Iterator[Field]:
    try:
        yield from fields(frame)
    except MalformedFrame as error:
        raise _malformed(error) from None


def _pop_slice(items: list[Field]) -> int:
    """Take as many small requests as can be decoded quickly, and return where they end."""
    begin = items[-1][1]
    end = 0
    count = 0
    while items and count < _SLICE and items[-1][3] - begin <= _SLICE_BYTES:
        end = items.pop()[3]
        count += 1
    return end


def _decode_large(frame: bytes, body: int, end: int) -> Request:
    """Decode a request of a batch that may be so large that its fields must be counted first."""
    known = bytearray()
    nested = False
    for count, (number, start, _, stop) in enumerate(fields(frame, body, end)):
        if number == _BATCH:
            nested = True
        elif number in _SCALARS:
            known += frame[start:stop]
        if count == MAX_FIELDS:
            return Request(fault=_NESTED if nested else f"more than {MAX_FIELDS} fields in one request")
    (request,) = _decode(bytes(known))
    return request._replace(fault=_NESTED) if nested else request


def _decode(frame: bytes) -> list[Request]:
    try:
        message = _parse(frame)
    except DecodeError as error:
        raise _malformed(error) from None
    batch = message.batch
    if not batch:
        return [_new(Request, (message.operacion, message.msg, message.data, message.id, ""))]
    return [
        _new(Request, (item.operacion, item.msg, item.data, item.id, _NESTED if item.batch else "")) for item in batch
    ]


def _malformed(error: Exception) -> MalformedFrame:
    return MalformedFrame(f"the frame is not a valid ConnectRequest: {error}")


def check_subscribe(frame: bytes) -> None:
    """Check a ``SubscribeRequest``, which has no fields.

    Raises:
        MalformedFrame: it does not parse.
    """
    try:
        check_number_of_fields(frame)
        pb.SubscribeRequest.FromString(frame)
    except (DecodeError, MalformedFrame) as error:
        raise MalformedFrame(f"the frame is not a valid SubscribeRequest: {error}") from None


def decode_publish(frame: bytes) -> Request:
    """Decode a ``PublishRequest`` as the broadcast that it stands for.

    Raises:
        MalformedFrame: it does not parse.
    """
    try:
        check_number_of_fields(frame)
        message = pb.PublishRequest.FromString(frame)
    except (DecodeError, MalformedFrame) as error:
        raise MalformedFrame(f"the frame is not a valid PublishRequest: {error}") from None
    return Request(msg=message.msg, data=message.data, id=message.id)
