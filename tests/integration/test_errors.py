"""A fault of one request is an event, and the stream goes on; a fault of the call ends it, and says why."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from bcast_grpc.broker.base import Refused
from bcast_grpc.broker.memory import MemoryBroker, MemoryOrder
from bcast_grpc.errors import BcastError, ErrorCode
from bcast_grpc.events import Entry
from bcast_grpc.v1 import chat_pb2 as pb

from .conftest import LocalDoor, Serve
from .peers import Ending, Pair, Peer, within

EVENT_ERRORS = [
    pytest.param(pb.ConnectRequest(), pb.ERROR_CODE_EMPTY_MESSAGE, id="empty"),
    pytest.param(pb.ConnectRequest(msg="x" * 65_537), pb.ERROR_CODE_MESSAGE_TOO_LARGE, id="large text"),
    pytest.param(pb.ConnectRequest(msg="é" * 32_769), pb.ERROR_CODE_MESSAGE_TOO_LARGE, id="large in bytes"),
    pytest.param(pb.ConnectRequest(msg="x", data=bytes(65_536)), pb.ERROR_CODE_MESSAGE_TOO_LARGE, id="large together"),
    pytest.param(pb.ConnectRequest(operacion="dance"), pb.ERROR_CODE_UNKNOWN_OPERATION, id="unknown operation"),
    pytest.param(pb.ConnectRequest(operacion="WHO"), pb.ERROR_CODE_UNKNOWN_OPERATION, id="capital letters"),
    pytest.param(pb.ConnectRequest(operacion="x" * 9999), pb.ERROR_CODE_UNKNOWN_OPERATION, id="long operation"),
    pytest.param(pb.ConnectRequest(operacion="join"), pb.ERROR_CODE_NAME_INVALID, id="join with no name"),
    pytest.param(pb.ConnectRequest(operacion="join", msg="x" * 65), pb.ERROR_CODE_NAME_INVALID, id="long name"),
    pytest.param(pb.ConnectRequest(operacion="join", msg="a\nb"), pb.ERROR_CODE_NAME_INVALID, id="line break in name"),
    pytest.param(pb.ConnectRequest(operacion="join", msg="\x1b[2J"), pb.ERROR_CODE_NAME_INVALID, id="escape in name"),
    pytest.param(pb.ConnectRequest(operacion="join", msg="\x85"), pb.ERROR_CODE_NAME_INVALID, id="C1 in name"),
    pytest.param(pb.ConnectRequest(operacion="join", msg=" "), pb.ERROR_CODE_NAME_INVALID, id="blank name"),
    pytest.param(pb.ConnectRequest(operacion="join", msg="\ufeff"), pb.ERROR_CODE_NAME_INVALID, id="invisible name"),
    pytest.param(pb.ConnectRequest(operacion="join", msg="a\u202e"), pb.ERROR_CODE_NAME_INVALID, id="override in name"),
    pytest.param(pb.ConnectRequest(msg="hola", id="x" * 129), pb.ERROR_CODE_MALFORMED, id="long id"),
    pytest.param(pb.ConnectRequest(operacion="who", id="é" * 65), pb.ERROR_CODE_MALFORMED, id="long id in bytes"),
]

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


class FailingBroker(MemoryBroker):
    """A broker that can be told to fail.

    Attributes:
        fault: what it raises instead of working.
        late: refuse what it took, instead of raising.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fault: Exception | None = None
        self.late = False

    async def open(self, room: str) -> MemoryOrder:
        """Begin, or fail."""
        if self.fault:
            raise self.fault
        return self._used.get(room) or FailingOrder(room, self)


class FailingOrder(MemoryOrder):
    """An order of such a broker."""

    def __init__(self, room: str, broker: FailingBroker) -> None:
        super().__init__(room, broker)
        self.failing = broker

    def submit(self, entries: Sequence[Entry]) -> None:
        """Submit, or fail at once, or later."""
        if not self.failing.fault:
            super().submit(entries)
        elif self.failing.late and self._deliver:
            asyncio.get_running_loop().call_soon(self._deliver, [Refused(entries, gone())])
        else:
            raise self.failing.fault


@pytest.fixture
def broker(door: LocalDoor) -> FailingBroker:
    """The server's broker, which now can be told to fail."""
    hub = door.server.hub
    broker = FailingBroker()
    hub._broker = broker
    return broker


def gone() -> BcastError:
    """What a broker raises that lost its store."""
    return BcastError(ErrorCode.BROKER_UNAVAILABLE, "the store is gone")


def check(ending: Ending, code: StatusCode, reason: str, *, retryable: bool = False) -> None:
    """Check a status and its ``google.rpc.ErrorInfo``."""
    assert (ending.code, ending.reason, ending.domain) == (code, reason, "bcast_grpc")
    assert ending.retryable is retryable
    assert ending.text


async def check_goes_on(peer: Peer, other: Peer) -> None:
    """Check that a stream still works in both directions."""
    id_ = f"still here {len(peer.heard)}"  # another one each time, or it would be a retry
    await peer.say("still here", id=id_)
    assert (await peer.answer(id_)).kind == pb.EVENT_KIND_ACK
    assert (await other.hear()).message.endswith("still here")


# --- faults of one request


@pytest.mark.parametrize(("request_", "code"), EVENT_ERRORS)
async def test_a_fault_of_a_request(door: LocalDoor, request_: pb.ConnectRequest, code: pb.ErrorCode) -> None:
    """A bad request is answered by an ERROR that says what is wrong; nobody else notices, and the stream goes on."""
    ana, bob = await door.connect("ana"), await door.connect(events="all")
    await bob.hear()
    request = pb.ConnectRequest(id="1")
    request.MergeFrom(request_)
    await ana.send(request)
    event = await ana.hear()
    assert (event.kind, event.id) == (pb.EVENT_KIND_ERROR, request.id)
    assert event.error == pb.Error(code=code, reason=event.error.reason)  # not retryable, so no time to wait
    assert event.error.reason
    assert event.message
    assert event.time.seconds > 0
    await check_goes_on(ana, bob)


async def test_a_fault_without_id(door: LocalDoor) -> None:
    """A bad request without ``id`` is answered too."""
    ana = await door.connect()
    await ana.say()
    event = await ana.hear()
    assert (event.error.code, event.id) == (pb.ERROR_CODE_EMPTY_MESSAGE, "")


async def test_a_nested_batch(door: LocalDoor) -> None:
    """A batch within a batch is MALFORMED, as an event, and its neighbours are carried out."""
    ana, bob = await door.connect(), await door.connect()
    nested = pb.ConnectRequest(id="2", batch=[pb.ConnectRequest(msg="nested", id="3")])
    before, after = pb.ConnectRequest(msg="before", id="1"), pb.ConnectRequest(msg="after", id="4")
    await ana.send(pb.ConnectRequest(batch=[before, nested, after]))
    answers = {event.id: event for event in await ana.hear_some(3)}
    assert set(answers) == {"1", "2", "4"}
    assert answers["2"].error.code == pb.ERROR_CODE_MALFORMED
    assert [event.message for event in await bob.hear_some(2)] == ["before", "after"]


async def test_up_to_the_limits(door: LocalDoor) -> None:
    """What is exactly as long as allowed is taken."""
    name, room, client = "é" * 64, "é" * 128, "é" * 64
    ana, bob = await door.connect(name, room=room, client=client), await door.connect(room=room)
    await ana.send(pb.ConnectRequest(msg="é" * 16_384, data=bytes(32_768), id="é" * 64))
    assert (await ana.hear()).kind == pb.EVENT_KIND_ACK
    assert (await bob.hear()).message == f"{name}: {'é' * 16_384}"
    await bob.ask("join", name, id="1")
    assert (await bob.hear()).kind == pb.EVENT_KIND_ACK


@pytest.mark.parametrize("msg", ["\x1b[2J", "\0", "a\r\nb"])
async def test_control_characters_in_text(door: LocalDoor, msg: str) -> None:
    """Texts are relayed as they are: only names and rooms take no control characters."""
    ana, bob = await door.connect(), await door.connect()
    await ana.say(msg)
    assert (await bob.hear()).message == msg


async def test_rate_limited(serve: Serve) -> None:
    """A client that sends too often gets an error that says how long to wait; after that it may go on."""
    door = await serve(rate=5, burst=2)
    ana, bob = await door.connect(), await door.connect()
    await ana.send(pb.ConnectRequest(batch=[pb.ConnectRequest(msg="hola", id=f"{n}") for n in range(3)]))
    answers = {event.id: event for event in await ana.hear_some(3)}
    assert {id_: event.kind for id_, event in answers.items() if id_ != "2"} == {
        "0": pb.EVENT_KIND_ACK,
        "1": pb.EVENT_KIND_ACK,
    }
    error = answers["2"].error
    assert (error.code, error.retryable) == (pb.ERROR_CODE_RATE_LIMITED, True)
    wait_s = error.retry_after.ToTimedelta().total_seconds()
    assert 0 < wait_s <= 1 / 5
    await asyncio.sleep(wait_s)  # as the server asks for
    await bob.hear_some(2)
    await check_goes_on(ana, bob)


async def test_the_rate_is_each_clients_own(serve: Serve) -> None:
    """Who sends too often is no burden on others; ``join`` and ``who`` count as a message does, ``leave`` does not."""
    door = await serve(rate=0.001, burst=1)
    ana, bob = await door.connect(), await door.connect()
    await ana.say("hola", id="1")
    await ana.say("hola", id="2")
    assert {(await ana.hear()).kind for _ in range(2)} == {pb.EVENT_KIND_ACK, pb.EVENT_KIND_ERROR}
    for operation in ("who", "join"):
        await ana.ask(operation, "Ana", id=operation)
        assert (await ana.answer(operation)).error.code == pb.ERROR_CODE_RATE_LIMITED
    await bob.say("ciao", id="1")
    assert (await bob.answer("1")).kind == pb.EVENT_KIND_ACK
    await ana.ask("leave", id="4")
    assert (await ana.answer("4")).kind == pb.EVENT_KIND_ACK


async def test_the_broker_fails_for_a_message(door: LocalDoor, broker: FailingBroker) -> None:
    """A message that the broker cannot take is answered by BROKER_UNAVAILABLE, and the stream goes on."""
    ana, bob = await door.connect(), await door.connect()
    for late in (False, True):
        broker.fault, broker.late = gone(), late
        await ana.send(pb.ConnectRequest(batch=[pb.ConnectRequest(msg="lost", id=f"{n}") for n in range(2)]))
        for n, event in enumerate(await ana.hear_some(2)):
            assert (event.kind, event.id) == (pb.EVENT_KIND_ERROR, f"{n}")
            assert event.error.code == pb.ERROR_CODE_BROKER_UNAVAILABLE
            assert event.error.retryable
        broker.fault = None
        await check_goes_on(ana, bob)


# --- faults of the call


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


async def test_the_broker_fails_for_a_call(door: LocalDoor, broker: FailingBroker) -> None:
    """A call whose room cannot be opened ends with UNAVAILABLE, and nothing of it stays."""
    broker.fault = gone()
    for ending in (await door.open().end(), await door.open_reader().end(), await door.publish_in_vain("hola")):
        check(ending, StatusCode.UNAVAILABLE, "BROKER_UNAVAILABLE", retryable=True)
    assert not door.server.hub.clients
    assert not door.server.hub.rooms


@pytest.mark.parametrize("late", [False, True])
async def test_the_broker_fails_for_publish(door: LocalDoor, broker: FailingBroker, late: bool) -> None:
    """``Publish`` ends with UNAVAILABLE when the broker cannot take the message, at once or later."""
    ana = await door.connect()
    broker.fault, broker.late = gone(), late
    check(await door.publish_in_vain("lost"), StatusCode.UNAVAILABLE, "BROKER_UNAVAILABLE", retryable=True)
    broker.fault = None
    await door.publish("hola")
    assert (await ana.hear()).message == "hola"


async def test_internal(door: LocalDoor, broker: FailingBroker, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of the server's own ends the call with INTERNAL, tells no secrets, is logged, and harms nobody else."""
    ana, bob = await door.connect("ana"), await door.connect()
    broker.fault = ValueError("a secret")
    await ana.say("hola")
    endings = [await ana.end(), await door.open(room="dev").end(), await door.publish_in_vain("hola")]
    for ending in endings:
        check(ending, StatusCode.INTERNAL, "INTERNAL")
        assert "secret" not in ending.text
    broker.fault = None
    assert (await bob.hear()).message == "ana left"
    await check_goes_on(bob, await door.connect())
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["a secret"] * 3
    caplog.clear()


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


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "EMPTY_MESSAGE"),
        ({"msg": "x" * 65_537}, "MESSAGE_TOO_LARGE"),
        ({"msg": "hola", "id": "x" * 129}, "MALFORMED"),
    ],
)
async def test_a_fault_of_publish(door: LocalDoor, fields: dict[str, Any], reason: str) -> None:
    """What is an ERROR event on a stream is INVALID_ARGUMENT for ``Publish``."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await within(door.stub().Publish(pb.PublishRequest(**fields)))
    check(Ending.of(raised.value), StatusCode.INVALID_ARGUMENT, reason)


async def test_publish_rate_limited(serve: Serve) -> None:
    """``Publish`` too often is RESOURCE_EXHAUSTED, with the time to wait; a ``bcast-client`` has one rate for all."""
    door = await serve(rate=0.01, burst=1)
    stream = await door.connect(client="c1")
    await door.publish("hola", client="c1")
    ending = await door.publish_in_vain("hola", client="c1")
    check(ending, StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", retryable=True)
    assert 0 < ending.retry_after_s <= 100
    await stream.say("hola", id="1")
    assert (await stream.answer("1")).error.code == pb.ERROR_CODE_RATE_LIMITED
    await door.publish("hola", client="c2")
