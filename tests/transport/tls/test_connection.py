"""To a door, an encrypted connection is like a plain one: however it is cut, paused and ended."""

# most methods are asyncio's

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bcast_grpc.transport.tls import handshake, peer
from bcast_grpc.transport.tls.handshake import MAX_BYTES
from bcast_grpc.transport.tls.records import USELESS_BYTES
from tests.authority import Authority, shared_ca
from tests.integration.peers import eventually

from .pair import Below, Client, Door, Pair


def beside(pair: Pair, authority: Authority) -> Pair:
    """Return another client of the same door."""
    other = Pair.__new__(Pair)
    other.turns, other.handshakes = pair.turns, pair.handshakes
    other.below, other.door = Below(), Door()
    other.below.protocol = pair.handshakes.begin(lambda _: other.door, "127.0.0.1:1")
    other.below.protocol.connection_made(other.below)
    other.client = Client(authority.context())
    return other


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority that signs for the server."""
    return Authority(tmp_path, shared_ca())


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
LAZY = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@LAZY
@given(
    version=st.sampled_from(VERSIONS),
    said=st.lists(st.integers(0, 200_000), max_size=5),
    written=st.lists(st.integers(0, 200_000), max_size=5),
    sizes=st.lists(st.sampled_from([1, 5, 100, 1400, 16_384, 70_000, 250_000]), max_size=40),
    pauses=st.lists(st.booleans(), max_size=40),
    halves=st.tuples(st.booleans(), st.booleans()),
)
async def test_all_bytes_arrive_in_order(
    authority: Authority,
    version: ssl.TLSVersion,
    said: list[int],
    written: list[int],
    sizes: list[int],
    pauses: list[bool],
    halves: tuple[bool, bool],
) -> None:
    """However the network cuts them, whenever the door pauses, and if one end has ended what it sends."""
    pair = Pair(authority, version)
    await pair.exchange(iter(sizes[:10]))
    assert pair.door.events == ["made"]
    pair.door.pauses = iter(pauses)
    wrote, heard = b"", b""
    for number, size in enumerate(written):
        piece = bytes([number]) * size
        wrote += piece
        pair.door.transport.write(piece)
    if halves[0]:
        pair.door.transport.write_eof()
    for number, size in enumerate(said):
        piece = bytes([number]) * size
        heard += piece
        pair.client.say(piece)
    if halves[1]:
        pair.client.end()
    exchange = asyncio.create_task(pair.exchange(iter(sizes[10:])))
    while not exchange.done():
        await asyncio.sleep(0)
        pair.door.transport.resume_reading()
    exchange.result()
    for _ in range(10):
        pair.door.transport.resume_reading()
        await asyncio.sleep(0)
    assert pair.client.heard == wrote
    assert pair.client.ended == halves[0]
    assert pair.door.heard == heard
    assert pair.door.events == (["made", "eof"] if halves[1] else ["made"])


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_door_that_ended_reads_on(authority: Authority, version: ssl.TLSVersion) -> None:
    """What the client sends after it has heard the door's end arrives."""
    pair = Pair(authority, version)
    await pair.exchange()
    pair.door.transport.write(b"bye")
    pair.door.transport.write_eof()
    assert pair.below.events == ["eof"]
    await pair_take(pair)
    assert (bytes(pair.client.heard), pair.client.ended) == (b"bye", True)
    pair.client.say(b"one more")
    pair.below.protocol.data_received(pair.client.sent())
    assert pair.door.heard == b"one more"
    with pytest.raises(RuntimeError):
        pair.door.transport.write(b"too late")


async def pair_take(pair: Pair) -> None:
    """Have the client read all that was sent."""
    pair.client.take(bytes(pair.below.sent))
    pair.below.sent.clear()


async def test_a_door_that_ends_while_it_does_not_read_loses_nothing(authority: Authority) -> None:
    """What came before is decrypted first, and kept until the door reads on."""
    pair = Pair(authority)
    await pair.exchange()
    pair.door.pauses = iter([True])
    pair.client.say(b"a")
    pair.below.protocol.data_received(pair.client.sent())
    pair.client.say(b"b" * 40_000)
    pair.below.protocol.data_received(pair.client.sent())
    assert pair.door.heard == b"a"
    pair.door.transport.write_eof()
    pair.door.transport.resume_reading()
    await asyncio.sleep(0)
    assert pair.door.heard == b"a" + b"b" * 40_000


async def test_tcps_own_end_is_an_end(authority: Authority) -> None:
    """A client that closes without a word of TLS is told as one that half-closed."""
    pair = Pair(authority)
    await pair.exchange()
    assert pair.below.protocol.eof_received()
    assert pair.door.events == ["made", "eof"]
    pair.door.transport.write(b"still here")
    await pair_take(pair)
    assert pair.client.heard == b"still here"


async def test_a_door_that_wants_no_half_open_connection(authority: Authority) -> None:
    """It is closed, as by the event loop."""
    pair = Pair(authority)
    await pair.exchange()
    pair.door.keeps_open = False
    pair.client.end()
    pair.below.protocol.data_received(pair.client.sent())
    assert pair.below.events == ["close"]
    pair.below.protocol.connection_lost(None)
    assert pair.door.events == ["made", "eof", "lost: None"]


async def test_rubbish_in_the_middle(authority: Authority) -> None:
    """What was changed on its way ends the connection; what came before is heard."""
    pair = Pair(authority)
    await pair.exchange()
    pair.client.say(b"hola")
    pair.below.protocol.data_received(pair.client.sent() + b"\x17\x03\x03\x00\x20" + b"x" * 32)
    assert pair.door.heard == b"hola"
    assert pair.below.events == ["abort"]
    pair.below.protocol.connection_lost(None)
    assert pair.door.events[-1].startswith("lost: TLS")


async def test_records_without_data_have_an_end(authority: Authority) -> None:
    """Those of a client that only changes its keys, say; here it begins a record and never ends it."""
    pair = Pair(authority)
    await pair.exchange()
    empty = b""
    while len(empty) <= USELESS_BYTES + 20_000:
        pair.client.say(b"")
        empty += pair.client.sent() or b"\x17\x03\x03\x00\x00"
    pair.below.protocol.data_received(empty)
    assert pair.below.events == ["abort"]


async def test_a_handshake_has_bounds(authority: Authority) -> None:
    """Of bytes; the time is that of the setting."""
    pair = Pair(authority)
    hello = b"\x16\x03\x01\x40\x00\x01" + (0xFFFFFF).to_bytes(3, "big")
    pair.below.protocol.data_received(hello)
    for _ in range(MAX_BYTES // 16_384 + 2):
        if not pair.below.events:
            pair.below.protocol.data_received(b"\x00" * 16_384)
            await asyncio.sleep(0)
    assert pair.below.events


async def test_handshakes_that_nobody_goes_on_with_are_few(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes memory, so the first one that is half done makes room for the next."""
    monkeypatch.setattr(handshake, "MAX_HALF_DONE", 2)
    pair = Pair(authority)
    pairs = [pair, *(beside(pair, authority) for _ in range(3))]
    for one in pairs[:3]:
        one.client.take(b"")
        one.below.protocol.data_received(one.client.sent())
    await eventually(lambda: all(one.below.sent for one in pairs[:3]))  # they take turns
    assert [one.below.events for one in pairs] == [["abort"], [], [], []]
    for one in pairs[1:]:
        await one.exchange()
    assert [one.door.events for one in pairs] == [[], ["made"], ["made"], ["made"]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("expired", [False, True])
async def test_whose_certificate_has_expired_resumes_no_session(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, version: ssl.TLSVersion, expired: bool
) -> None:
    """Where a client comes back within hours, OpenSSL asks for no certificate, and looks at none."""
    pair = Pair(authority, client_ca=authority.file)
    again = beside(pair, authority)
    context = authority.context(authority.sign("client", "ana.example"))
    context.maximum_version = version
    pair.client = Client(context)
    await pair.exchange()
    assert pair.door.events == ["made"]
    again.client = Client(context, pair.client.ssl.session)
    if expired:
        far = ssl.cert_time_to_seconds(str(pair.door.transport.get_extra_info("peercert")["notAfter"])) + 1
        monkeypatch.setattr(peer, "time", SimpleNamespace(time=lambda: far))
    with suppress(AssertionError):  # the client writes on, to nobody
        await again.exchange()
    assert again.client.ssl.session_reused
    assert (again.door.events, again.below.events) == (([], ["abort"]) if expired else (["made"], []))


@pytest.mark.parametrize("count", [1, 50])
async def test_handshakes_take_turns(authority: Authority, count: int) -> None:
    """Many at once all come to their end."""
    pair = Pair(authority)
    pairs = [pair, *(beside(pair, authority) for _ in range(count))]
    await asyncio.gather(*(one.exchange() for one in pairs))
    while any(one.door.events != ["made"] for one in pairs):
        await asyncio.gather(*(one.exchange() for one in pairs))
