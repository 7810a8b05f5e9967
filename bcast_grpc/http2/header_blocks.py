"""Received header blocks: assembled from HEADERS and CONTINUATION frames, and decoded."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from hpack import Decoder, HPACKError, OversizedHeaderListError

from bcast_grpc.http2.errors import ConnectionFault, ErrorCode
from bcast_grpc.http2.fields import FieldSection

MAX_CONTINUATIONS = 8
"""Most CONTINUATION frames of a header block (nghttp2: 8)."""


CACHED_SIZE, CACHED_COUNT = 512, 128
"""The fields of blocks up to this size are cached, and so many of them.

Most clients send the same block with each call, and decoding is most of the cost of a call. A block with a credential
is decoded each time, and not cached.
"""

SKIPPED_TIMES = 4
"""A block up to so many times too large ends only its stream, because the clients of a proxy share a connection."""

MAX_SIZE_UPDATES = 2
"""How often a block may change the size of the table (RFC 7541, section 4.2)."""

_TOO_MANY_SIZE_UPDATES = re.compile(rb"(?:[\x20-\x3e]|\x3f[\x80-\xff]*[\x00-\x7f]){%d}" % (MAX_SIZE_UPDATES + 1)).match


MAX_EARLY = 8
"""How many blocks may be too large while there is a table: they have to be decoded all the same, which takes long."""


class PartialBlock:
    """A header block that is not complete yet.

    Args:
        max_size: Size of the largest block that is allowed, in bytes.
        keeps: Whether a larger block is kept, because it may change the table.

    Attributes:
        stream_id: The stream that it belongs to.
        ended: Whether the request ends with it.
        depends_on_itself: Whether its priority says that the stream depends on itself.
    """

    __slots__ = ("_count", "_keeps", "_max_size", "_parts", "_size", "depends_on_itself", "ended", "stream_id")

    def __init__(self, stream_id: int, max_size: int, *, ended: bool, depends_on_itself: bool, keeps: bool) -> None:
        self.stream_id = stream_id
        self.ended = ended
        self.depends_on_itself = depends_on_itself
        self._max_size = max_size
        self._keeps = keeps
        self._parts: list[bytes] = []
        self._count = 0
        self._size = 0

    def add(self, part: bytes) -> None:
        """Add the part in another frame.

        Raises:
            ConnectionFault: the block is far too long, or has too many frames.
        """
        self._count += 1
        self._size += len(part)
        if self._size > SKIPPED_TIMES * self._max_size or self._count > 1 + MAX_CONTINUATIONS:
            raise too_large(self._max_size)
        self._parts.append(part)
        if self._size > self._max_size and not self._keeps:
            self._parts.clear()

    def joined(self) -> bytes | None:
        """The whole block; None if it is too large."""
        return b"".join(self._parts) if self._parts else None


class HeaderDecoder:
    """Decodes the header blocks of a connection.

    Until the peer has agreed to do without a table, a block may refer to earlier ones. But few connections have a
    second block by then. So the first is decoded by itself, with the cache, and the table is made from it if a second
    comes.

    Args:
        max_size: Largest size of a block, and of its fields, in bytes.

    Attributes:
        has_table: Whether blocks may refer to earlier ones.
    """

    __slots__ = ("_decoder", "_first", "_max_size", "has_table")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._decoder: Decoder | None = None
        self._first: bytes | None = None
        self.has_table = True

    def drop_table(self) -> None:
        """Drop the table: from now on blocks do not refer to earlier ones."""
        self.has_table = False
        self._decoder = self._first = None

    def decode(self, block: bytes | None) -> FieldSection | None:
        """Decode a block; None stands for one that is too large.

        While there is a table, a block that is too large is decoded, too, because it may change the table.

        Returns:
            The fields; None if the block is too large, or its fields are.

        Raises:
            ConnectionFault: the block is not HPACK; or, while there is a table, it is far too large, so that later
                blocks could not be decoded.
        """
        if self.has_table:
            section = None if block is None else self._decode_with_table(block)
            if section is None:
                raise too_large(self._max_size)
            return section if section.size <= self._max_size else None
        if block is None:
            return None
        if len(block) <= CACHED_SIZE:
            return _look_up(_decode_cached, block, self._max_size)
        return _decode(block, _without_table(self._max_size))

    def _decode_with_table(self, block: bytes) -> FieldSection | None:
        size = SKIPPED_TIMES * self._max_size
        if self._decoder is None:
            if self._first is None and len(block) <= CACHED_SIZE:
                self._first = block
                return _look_up(_decode_first, block, size)
            self._decoder = Decoder(size)
            if self._first is not None:
                _decode(self._first, self._decoder)
                self._first = None
        return _decode(block, self._decoder)


class _Secret(Exception):
    """Carries fields that must not be cached: ``lru_cache`` keeps nothing of a call that raises."""

    def __init__(self, section: FieldSection) -> None:
        super().__init__()
        self.section = section


def _look_up(decode: Callable[[bytes, int], FieldSection | None], block: bytes, max_size: int) -> FieldSection | None:
    try:
        return decode(block, max_size)
    except _Secret as secret:
        return secret.section


@lru_cache(maxsize=CACHED_COUNT)
def _decode_cached(block: bytes, max_size: int) -> FieldSection | None:
    return _without_secret(_decode(block, _without_table(max_size)))


@lru_cache(maxsize=CACHED_COUNT)
def _decode_first(block: bytes, max_size: int) -> FieldSection | None:
    return _without_secret(_decode(block, Decoder(max_size)))


def _without_secret(section: FieldSection | None) -> FieldSection | None:
    if section and section.secret:
        raise _Secret(section)
    return section


def _without_table(max_size: int) -> Decoder:
    """A decoder that keeps nothing from one block to the next."""
    decoder = Decoder(max_size)
    decoder.header_table_size = 0
    decoder.max_allowed_table_size = 0
    return decoder


def _decode(block: bytes, decoder: Decoder) -> FieldSection | None:
    if _TOO_MANY_SIZE_UPDATES(block):  # each takes time, and thousands fit into a block
        text = f"a header block must have at most {MAX_SIZE_UPDATES} size updates"
        raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, text)
    try:
        return FieldSection(list(decoder.decode(block, raw=True)))
    except OversizedHeaderListError:
        return None
    except (HPACKError, IndexError):  # their texts contain memory addresses, which the peer must not learn
        raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "the header block must be HPACK") from None


def too_large(max_size: int) -> ConnectionFault:
    """The fault of a block that is too large, or whose fields are."""
    return ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"the fields of a request must be at most {max_size} bytes")
