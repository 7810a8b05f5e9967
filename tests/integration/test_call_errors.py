"""Errors that end a call: the status, its reason, and whether to come back; the others notice nothing."""

from __future__ import annotations

import pytest
from grpc import StatusCode

from bcast_grpc.v1 import chat_pb2 as pb

from .conftest import LocalDoor, Serve
from .endings import check
from .peers import Pair, Peer, within

BAD_METADATA = [
    pytest.param([("bcast-colour", "red")], "bcast-colour", id="unknown key"),
    pytest.param([("bcast-after", "0123abcd")], "bcast-after", id="after"),
    pytest.param([("bcast-history", "ten")], "bcast-history", id="history"),
    pytest.param([("bcast-batch", "yes")], "bcast-batch", id="flag with a word"),
    pytest.param([("bcast-echo", "")], "bcast-echo", id="flag with nothing"),
    pytest.param([("bcast-events", "joined,parted")], "bcast-events", id="unknown notice"),
    pytest.param([("bcast-events", "all,left")], "bcast-events", id="all and more"),
    pytest.param([("bcast-name", "100%")], "bcast-name", id="percent sign alone"),
    pytest.param([("bcast-name", "%C3%A")], "bcast-name", id="percent-encoding cut off"),
    pytest.param([("bcast-room", "%zz")], "bcast-room", id="percent-encoding of no digits"),
    pytest.param([("bcast-name", "Jos%E9")], "bcast-name", id="percent-encoded Latin-1"),
    pytest.param([("bcast-room", "%ED%A0%80")], "bcast-room", id="percent-encoded surrogate"),
    pytest.param([("bcast-name", "ana"), ("bcast-name", "ana")], "bcast-name", id="given twice"),
    pytest.param([("bcast-room", "")], "bcast-room", id="empty room"),
    pytest.param([("bcast-room", "x" * 129)], "bcast-room", id="long room"),
    pytest.param([("bcast-room", "a%0Ab")], "bcast-room", id="line break in room"),
    pytest.param([("bcast-client", "x" * 129)], "bcast-client", id="long client"),
    pytest.param([("bcast-client", "%C3%A9" * 65)], "bcast-client", id="long client in bytes"),
    pytest.param([("bcast-name-bin", b"ana")], "bcast-name-bin", id="binary key"),
    pytest.param([("bcast-name", "%" * 6000)], "bcast-name", id="a long value"),
    pytest.param([("bcast-" + "x" * 6000, "1")], "bcast-xxx", id="a long key"),
]


BAD_NAMES = [
    pytest.param("x" * 65, id="long"),
    pytest.param("%C3%A9" * 65, id="long in characters"),
    pytest.param("a%00b", id="NUL"),
    pytest.param("%1B[2J", id="escape"),
    pytest.param("%C2%85", id="C1"),
    pytest.param("%20", id="blank"),
    pytest.param("%E2%80%8B", id="zero width"),
    pytest.param("%E3%85%A4", id="filler"),
    pytest.param("%E2%80%AEana", id="right to left"),
]


@pytest.mark.parametrize(("pairs", "key"), BAD_METADATA)
async def test_metadata_invalid(door: LocalDoor, pairs: list[Pair], key: str) -> None:
    """Metadata that does not fit is refused by all three calls, by the key's name."""
    for ending in (
        await door.open(pairs=pairs).end(),
        await door.open_reader(pairs=pairs).end(),
        await door.publish_in_vain("hola", pairs=pairs),
    ):
        check(ending, StatusCode.INVALID_ARGUMENT, "METADATA_INVALID")
        assert key in ending.text
        assert ending.before == ()


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_name_invalid(door: LocalDoor, name: str) -> None:
    """A name in metadata that does not fit is refused by all three calls."""
    pairs: list[Pair] = [("bcast-name", name)]
    for ending in (
        await door.open(pairs=pairs).end(),
        await door.open_reader(pairs=pairs).end(),
        await door.publish_in_vain("hola", pairs=pairs),
    ):
        check(ending, StatusCode.INVALID_ARGUMENT, "NAME_INVALID")


@pytest.mark.parametrize("room", ["%20", "%E2%80%8B", "%E3%85%A4", "%E2%A0%80", "%C2%AD", "%EF%BB%BF", "dev%E2%80%AE"])
async def test_a_room_that_cannot_be_seen(doors: LocalDoor, room: str) -> None:
    """Or that directs text: it is refused at every door."""
    pairs: list[Pair] = [("bcast-room", room)]
    for ending in (
        await doors.open(pairs=pairs).end(),
        await doors.open_reader(pairs=pairs).end(),
        await doors.publish_in_vain("hola", pairs=pairs),
    ):
        check(ending, StatusCode.INVALID_ARGUMENT, "NAME_INVALID")
        assert "bcast-room: " in ending.text
    browser = await doors.browse(f"?room={room}")
    assert [event["error"]["code"] for event in await browser.end()] == ["ERROR_CODE_NAME_INVALID"]
    assert browser.closed[0] == 4005


async def test_names_that_look_the_same_are_the_same(doors: LocalDoor) -> None:
    """However they were typed: composed or not, with blanks around them or not, at every door, in every answer."""
    ana = await doors.connect("ana", room="caf\u00e9", events="all")
    welcome = await ana.hear()
    bob = await doors.connect("jose\u0301 ", room=" cafe\u0301\u3000", events="welcome")
    assert welcome.welcome.room == (await bob.hear()).welcome.room == "caf\u00e9"
    assert dict(await bob.call.initial_metadata())["bcast-room"] == "caf%C3%A9"
    assert (await ana.hear()).message == "jos\u00e9 joined"
    browser = await doors.browse("?room=%EF%BB%BFcafe%CC%81&events=none")
    assert browser.headers["bcast-room"] == "caf%C3%A9"
    reader = await doors.subscribe(room="cafe\u0301", events="none")
    await doors.publish("hola", name="eva ", room="caf\u00e9 ")
    for peer in (ana, bob, reader):
        assert (await peer.hear()).message == "eva: hola"
    assert (await browser.hear())["sender"] == "eva"
    await bob.ask("join", "\u200bnoe\u0308l", id="1")
    answer = await bob.answer("1")
    assert answer.message == "your name is no\u00ebl"
    renamed = await ana.hear()
    assert (renamed.sender, renamed.message) == ("no\u00ebl", "jos\u00e9 is now no\u00ebl")
    plain = await doors.plug()
    await plain.send({"operacion": "join", "msg": "cafe\u0301 ", "id": "1"})
    assert (await plain.hear())["message"] == "your name is caf\u00e9"


async def test_nobody_notices_who_was_not_let_in(door: LocalDoor) -> None:
    """A call that is refused was never connected: nothing is announced."""
    ana = await door.connect(events="all")
    await door.open("bob", echo="maybe").end()
    await door.publish("hola")
    assert [event.message for event in await ana.hear_until("hola")] == ["welcome to lobby: 1 here"]


async def test_a_name_outside_ascii(door: LocalDoor) -> None:
    """Text outside ASCII comes percent-encoded; what needs no encoding may come as it is."""
    ana = await door.connect()
    await door.open(pairs=[("bcast-name", "Jos%C3%A9 (%e2%82%ac)")]).arrive()
    await door.publish("hola", pairs=[("bcast-name", "Jos%C3%A9")])
    event = await ana.hear()
    assert (event.sender, event.message) == ("José", "José: hola")
    await ana.ask("who")
    assert (await ana.hear()).message == "2 here: José (€) and one without a name"


async def test_metadata_of_others(door: LocalDoor) -> None:
    """Keys that do not begin with ``bcast-`` are none of ours; names may be without a value."""
    pairs: list[Pair] = [
        ("x-request-id", "1"),
        ("authorization", "Bearer TOKEN"),
        ("trace-bin", b"\xff"),
        ("bcast-name", ""),
    ]
    peer = await door.open(pairs=pairs).arrive()
    await peer.ask("who")
    assert (await peer.hear()).message == "1 here: one without a name"


async def test_server_full(serve: Serve) -> None:
    """A client too many is refused, for now; who takes its own place is not; others get in when one leaves."""
    door = await serve(max_clients=2)
    ana, bob = await door.connect("ana", client="ana"), await door.subscribe()
    for ending in (await door.open(room="dev").end(), await door.open_reader().end()):
        check(ending, StatusCode.RESOURCE_EXHAUSTED, "SERVER_FULL", retryable=True)
    again = await door.connect("ana", client="ana")
    assert (await ana.end()).reason == "REPLACED"
    await again.half_close()
    assert (await again.end()).code == StatusCode.OK
    assert (await bob.hear()).message == "ana left"
    await door.connect()


async def test_shutting_down(door: LocalDoor) -> None:
    """Once the server is shutting down, no call is let in."""
    door.server.hub.close("the server is shutting down", lambda: 1.0, lambda: None)
    for ending in (await door.open().end(), await door.open_reader().end(), await door.publish_in_vain("hola")):
        check(ending, StatusCode.UNAVAILABLE, "SHUTTING_DOWN", retryable=True)


@pytest.mark.parametrize(
    "noise",
    [
        pytest.param(b"\xff\xff\xff", id="no field"),
        pytest.param(b"\x12\x05abc", id="cut off"),
        pytest.param(b"\x12\x02\xc3\x28", id="text that is not UTF-8"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another protocol"),
        pytest.param(b"\x7a\x02\x12\x05", id="a broken batch"),
    ],
)
async def test_a_malformed_frame(door: LocalDoor, noise: bytes) -> None:
    """A frame that does not parse ends the call with MALFORMED; what came before it counts. The others get LEFT."""
    bob = await door.connect()
    ana = door.raw(pairs=[("bcast-name", "ana")])
    await ana.write(pb.ConnectRequest(msg="hola", id="1").SerializeToString())
    await ana.write(noise)
    ending = await Peer(ana).end(pb.ConnectResponse.FromString)
    check(ending, StatusCode.INVALID_ARGUMENT, "MALFORMED")
    assert [event.id for event in ending.before] == ["1"]
    assert [event.message for event in await bob.hear_some(2)] == ["ana: hola", "ana left"]


async def test_a_malformed_publish(door: LocalDoor) -> None:
    """``Publish`` and ``Subscribe`` refuse a frame that does not parse in the same way."""
    for method in ("Publish", "Subscribe"):
        call = door.raw(method)
        await call.write(b"\xff\xff\xff")
        await call.done_writing()
        check(await Peer(call).end(pb.ConnectResponse.FromString), StatusCode.INVALID_ARGUMENT, "MALFORMED")


async def test_a_frame_of_a_newer_client(door: LocalDoor) -> None:
    """Fields that this version does not know are passed over, and an empty frame is an empty message."""
    ana, bob = door.raw(), await door.connect()
    await ana.write(pb.ConnectRequest(msg="hola").SerializeToString() + b"\xf2\x07\x03new")
    assert (await bob.hear()).message == "hola"
    await ana.write(b"")
    event = pb.ConnectResponse.FromString(await within(ana.read()))
    assert event.error.code == pb.ERROR_CODE_EMPTY_MESSAGE


async def test_a_frame_that_is_too_large(door: LocalDoor) -> None:
    """A frame of more than 4 MiB ends the call with RESOURCE_EXHAUSTED. The others get LEFT. Up to that it fits."""
    ana, bob = await door.connect("ana"), await door.connect()
    frame = pb.ConnectRequest(batch=[pb.ConnectRequest(data=bytes(60_000)) for _ in range(69)])
    assert 4_100_000 < frame.ByteSize() < 4 * 1024 * 1024
    await ana.send(frame)
    await bob.hear_some(69)
    await ana.say(data=bytes(4 * 1024 * 1024))
    assert (await ana.end()).code == StatusCode.RESOURCE_EXHAUSTED
    assert (await bob.hear()).message == "ana left"
    ending = await door.publish_in_vain(data=bytes(4 * 1024 * 1024))
    assert ending.code == StatusCode.RESOURCE_EXHAUSTED
