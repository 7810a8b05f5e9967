"""Header blocks that come in: put together from HEADERS and CONTINUATION, and decoded."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from hpack import Decoder, HPACKError, OversizedHeaderListError

from bcast_grpc.http2.errors import ConnectionFault, ErrorCode
from bcast_grpc.http2.fields import FieldSection

MAX_CONTINUATIONS = 8
"""Frames in which a header block may go on (nghttp2: 8)."""


CACHED_SIZE, CACHED_COUNT = 512, 128
"""Bytes of a block whose fields are kept for the next that is the same, and how many are kept.

Most clients send the same block with each call, and decoding is most of what a call costs. One that holds a secret is
decoded each time, and forgotten.
"""

SKIPPED_TIMES = 4
"""A block that is too large, by up to so many times, ends only its stream: clients of one proxy share a connection."""

MAX_SIZE_UPDATES = 2
"""How often a block may change the size of the table (RFC 7541, section 4.2)."""

_TOO_MANY_SIZE_UPDATES = re.compile(rb"(?:[\x20-\x3e]|\x3f[\x80-\xff]*[\x00-\x7f]){%d}" % (MAX_SIZE_UPDATES + 1)).match


MAX_EARLY = 8
"""How many blocks may be too large while there is a table: they have to be decoded nevertheless, which takes long."""


class PartialBlock:
    """A header block whose end has not come.

    Args:
        max_size: Bytes of the largest that is allowed.
        keeps: Whether one is kept that is larger, since there is a table that it may change.

    Attributes:
        stream_id: Whose it is.
        ended: Whether the request ends with it.
        depends_on_itself: Whether its priority says so.
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
        """Take what a frame carries of it.

        Raises:
            ConnectionFault: that makes it far too long, or too many frames.
        """
        self._count += 1
        self._size += len(part)
        if self._size > SKIPPED_TIMES * self._max_size or self._count > 1 + MAX_CONTINUATIONS:
            raise too_large(self._max_size)
        self._parts.append(part)
        if self._size > self._max_size and not self._keeps:
            self._parts.clear()

    def joined(self) -> bytes | None:
        """All that came of it; None if that is too large."""
        return b"".join(self._parts) if self._parts else None


class HeaderDecoder:
    """Decodes the header blocks of a connection.

    Until the peer has agreed to do without a table, a block may build on those before it. But few connections have a
    second one by then. So the first is decoded as any other that is the same, and the table is made of it when the
    second comes.

    Args:
        max_size: Bytes that a block may have, and its fields.

    Attributes:
        has_table: Whether blocks may build on those before.
    """

    __slots__ = ("_decoder", "_first", "_max_size", "has_table")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._decoder: Decoder | None = None
        self._first: bytes | None = None
        self.has_table = True

    def drop_table(self) -> None:
        """From now on each block stands for itself."""
        self.has_table = False
        self._decoder = self._first = None

    def decode(self, block: bytes | None) -> FieldSection | None:
        """Decode a block of at most the size that is allowed, None for a larger one.

        Where there is a table a larger block is decoded too: it may change the table.

        Returns:
            None if it is too large, or its fields are.

        Raises:
            ConnectionFault: it is no HPACK; or far too large where there is a table. What follows could not be decoded.
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
    """Fields that are not to be kept: of a call that raises, ``lru_cache`` keeps neither arguments nor result."""

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
        raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"a header block may hold {MAX_SIZE_UPDATES} size updates")
    try:
        return FieldSection(list(decoder.decode(block, raw=True)))
    except OversizedHeaderListError:
        return None
    except (HPACKError, IndexError):  # their texts name addresses in memory, which are not the peer's to know
        raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "the header block must be HPACK") from None


def too_large(max_size: int) -> ConnectionFault:
    """A block, or what it unpacks to, is too large."""
    return ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"the fields of a request must be at most {max_size} bytes")
