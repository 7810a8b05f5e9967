"""Header blocks mean what they mean to any decoder, though those that many clients send are decoded once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.http2 import header_blocks
from bcast_grpc.http2.header_blocks import HeaderDecoder

MAX_SIZE = 8192
NAMES = st.sampled_from(["bcast-name", "bcast-room", "x-trace", "user-agent"])
FIELDS = st.lists(st.tuples(NAMES, st.sampled_from(["", "1", "ana", "lobby", "y" * 300])), max_size=5)
REQUEST = [(":method", "POST"), (":scheme", "http"), (":path", "/chat")]


def fields_of(decoder: HeaderDecoder, block: bytes) -> Sequence[tuple[str, str]]:
    """The fields of a block."""
    section = decoder.decode(block)
    assert section
    return section.request()[0]


@given(st.lists(FIELDS, max_size=5), st.booleans())
def test_blocks_build_on_those_before_them(blocks: Sequence[Sequence[tuple[str, str]]], huffman: bool) -> None:
    """As long as there is a table; each connection has its own, whatever others sent first."""
    encoder, decoder = Encoder(), HeaderDecoder(MAX_SIZE)
    for fields in blocks:
        block = encoder.encode([*REQUEST, *fields], huffman=huffman)
        assert list(fields_of(decoder, block)) == [*REQUEST, *fields]


def test_what_many_clients_send_first_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no connection has a table for it."""
    made = []

    class Counted(Decoder):
        def __init__(self, size: int) -> None:
            super().__init__(size)
            made.append(size)

    monkeypatch.setattr(header_blocks, "Decoder", Counted)
    for n in range(100):
        fields = [*REQUEST, ("bcast-name", "decoded once")]
        assert list(fields_of(HeaderDecoder(MAX_SIZE), Encoder().encode(fields))) == fields, n
    assert len(made) == 1


def test_without_a_table_each_block_stands_for_itself() -> None:
    """What came before is forgotten."""
    decoder = HeaderDecoder(MAX_SIZE)
    fields_of(decoder, Encoder().encode(REQUEST))
    decoder.drop_table()
    encoder = Encoder()
    encoder.header_table_size = 0
    assert list(fields_of(decoder, encoder.encode(REQUEST))) == REQUEST
    assert list(fields_of(decoder, encoder.encode(REQUEST))) == REQUEST
