"""gRPC's messages in a stream of bytes. Each has a prefix: whether it is compressed, and its length."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from struct import Struct
from typing import NamedTuple, TypeAlias

from google.rpc import code_pb2

from bcast_grpc.core.batch import Piece
from bcast_grpc.events import Event
from bcast_grpc.wire import protobuf

_PREFIX = Struct(">BI")
_PREFIX_BYTES = _PREFIX.size
_PIECE_BYTES = 256 * 1024

MAX_SMALL_BYTES = 16 * 1024
"""The largest request of methods that need no large ones, and may keep a request as long as the call lasts."""

ENCODINGS = {"identity": None, "gzip": 31, "deflate": 15}
"""The encodings that a message may be compressed with, and their ``wbits`` in zlib."""


class StatusError(Exception):
    """A status that ends a call and is not one of the contract's errors."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Packed(NamedTuple):
    """A compressed message."""

    data: bytes
    window_bits: int

    def pieces(self, max_bytes: int) -> Iterator[bytes]:
        """Yield the message in pieces, each of which takes less than a millisecond.

        Raises:
            StatusError: it would be larger than ``max_bytes``, or cannot be decompressed.
        """
        unpacking = zlib.decompressobj(self.window_bits)
        rest = self.data
        left = max_bytes
        while not unpacking.eof:
            try:
                piece = unpacking.decompress(rest, _PIECE_BYTES)
            except zlib.error as error:
                raise StatusError(code_pb2.INTERNAL, f"a message cannot be decompressed: {error}") from None
            rest = unpacking.unconsumed_tail
            left -= len(piece)
            if left < 0:
                raise too_large(f"more than {max_bytes}", max_bytes)
            if not piece and not unpacking.eof:
                break
            yield piece
        if not unpacking.eof or unpacking.unused_data:
            why = "other data follow it" if unpacking.eof else "it is incomplete"
            raise StatusError(code_pb2.INTERNAL, f"a message cannot be decompressed: {why}")


Message: TypeAlias = bytes | Packed


def unpacked(message: Message, max_bytes: int) -> bytes:
    """Return a small message, decompressed if it was compressed. For large ones use ``Packed.pieces``."""
    return b"".join(message.pieces(max_bytes)) if isinstance(message, Packed) else message


class MessageReader:
    """Cuts the data of one call into messages.

    Args:
        max_bytes: size of the largest message.
        window_bits: how messages may be compressed: one of the values of ``ENCODINGS``.

    Attributes:
        fault: what is wrong with the data, so that nothing more can be read; None if nothing is wrong.
    """

    __slots__ = ("_max_bytes", "_missing", "_rest", "_window_bits", "fault")

    def __init__(self, max_bytes: int, window_bits: int | None) -> None:
        self.fault: StatusError | None = None
        self._max_bytes = max_bytes
        self._window_bits = window_bits
        self._rest = bytearray()
        self._missing = 0  # how many bytes the rest must have before it can be cut

    @property
    def unpacks(self) -> bool:
        """Whether messages may be compressed."""
        return self._window_bits is not None

    def pieces(self, message: Packed) -> Iterator[bytes]:
        """Decompress a message in pieces; see ``Packed.pieces``."""
        return message.pieces(self._max_bytes)

    @property
    def begun(self) -> int:
        """How many bytes of an incomplete message are kept."""
        return len(self._rest)

    def read(self, payloads: Sequence[bytes]) -> list[Message]:
        """Return the messages that these bytes complete, in order."""
        messages: list[Message] = []
        head = _PREFIX.unpack_from
        limit = self._max_bytes
        for payload in payloads:
            if self.fault:
                break
            if not self._rest and len(payload) >= _PREFIX_BYTES:
                packed, size = head(payload)
                if not packed and size == len(payload) - _PREFIX_BYTES and size <= limit:  # what most are
                    messages.append(payload[_PREFIX_BYTES:])
                    continue
            self._add(payload, messages)
        return messages

    def _add(self, payload: bytes, messages: list[Message]) -> None:
        data = payload
        if self._rest:
            self._rest += payload
            if len(self._rest) < self._missing:
                return
            data = bytes(self._rest)
        at = self._cut(data, messages)
        self._rest = bytearray(data[at:])

    def _cut(self, data: bytes, messages: list[Message]) -> int:
        """Take the complete messages, and return where the next one begins."""
        at = 0
        self._missing = _PREFIX_BYTES
        while len(data) - at >= _PREFIX_BYTES:
            packed, size = _PREFIX.unpack_from(data, at)
            self.fault = self._judge(packed, size)
            if self.fault:
                return len(data)
            begin = at + _PREFIX_BYTES
            if begin + size > len(data):
                self._missing = _PREFIX_BYTES + size
                break
            message = data[begin : begin + size]
            messages.append(Packed(message, self._window_bits) if packed and self._window_bits else message)
            at = begin + size
        return at

    def _judge(self, packed: int, size: int) -> StatusError | None:
        if packed > 1:
            return StatusError(code_pb2.INTERNAL, f"a message begins with {packed}; it must be 0 or 1 (compressed)")
        if packed and not self._window_bits:
            return StatusError(code_pb2.INTERNAL, "a message is compressed, but grpc-encoding does not say how")
        return too_large(str(size), self._max_bytes) if size > self._max_bytes else None


def encode_events(events: Sequence[Event]) -> list[Piece]:
    """Encode each event as a message of its own, and join the messages: a client takes them from one frame as well."""
    return protobuf.encode_joined(events, _prefix)


@lru_cache(maxsize=1024)
def _prefix(size: int) -> bytes:
    return _PREFIX.pack(0, size)


def split_messages(run: bytes, max_bytes: int) -> Iterator[bytes]:
    """Cut joined messages into runs of at most ``max_bytes``; a single larger message is a run of its own."""
    begin = at = 0
    while at < len(run):
        end = at + _PREFIX_BYTES + _PREFIX.unpack_from(run, at)[1]
        if end - begin > max_bytes and at > begin:
            yield run[begin:at]
            begin = at
        at = end
    yield run[begin:]


def no_message() -> StatusError:
    """Return the status for a call without a message to a method that needs one."""
    return StatusError(code_pb2.UNIMPLEMENTED, "this method needs a request: one message, which may be empty")


def too_many_messages() -> StatusError:
    """Return the status for a call with a second message to a method that takes one."""
    return StatusError(code_pb2.UNIMPLEMENTED, "this method takes one message, but the call has more")


def too_large(size: str, limit: int) -> StatusError:
    """Return the status for a call with a message of ``size`` bytes."""
    return StatusError(code_pb2.RESOURCE_EXHAUSTED, f"a message has {size} bytes; the limit is {limit}")


def with_prefix(message: bytes) -> bytes:
    """Return a message with its prefix."""
    return _PREFIX.pack(0, len(message)) + message
