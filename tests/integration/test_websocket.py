"""The WebSocket door: the contract as JSON, for browsers."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from websockets.exceptions import ConnectionClosed

from .conftest import LocalDoor, Serve
from .peers import eventually, within

QUERY = "?name=ana&batch=1&events=all"


def text_of(event: Any) -> str:
    """What an event of any door says to a person."""
    return str(event["message"] if isinstance(event, dict) else event.message)


# --- in the room


async def test_everyone_hears_everyone(doors: LocalDoor) -> None:
    """The three doors lead into the same room: one order, and nobody hears itself."""
    peers: dict[str, Any] = {
        "grpc": await doors.connect("grpc", events="none"),
        "ws": await doors.browse("?name=ws&events=none"),
        "batch": await doors.browse("?name=batch&events=none&batch=1"),
        "tcp": await doors.plug(),
    }
    await peers["tcp"].send({"operacion": "join", "msg": "tcp", "id": "in"})
    assert (await peers["tcp"].hear())["id"] == "in"
    for name, peer in peers.items():
        await peer.say(f"from {name}")
    everything = [f"{name}: from {name}" for name in peers]
    heard: dict[str, list[tuple[str, str]]] = {}
    for name, peer in peers.items():
        events: list[Any] = [await peer.hear() for _ in range(3)]
        if name == "grpc":
            heard[name] = [(str(event.seq), event.message) for event in events]
        else:
            heard[name] = [(event["seq"], event["message"]) for event in events]
        assert sorted(text for _, text in heard[name]) == sorted(text for text in everything if name not in text)
    order = sorted({pair for pairs in heard.values() for pair in pairs})
    assert [seq for seq, _ in order] == ["1", "2", "3", "4"]
    for pairs in heard.values():
        assert pairs == [pair for pair in order if pair in pairs]


async def test_an_event_is_the_contracts_message_as_json(doors: LocalDoor) -> None:
    """The proto3 mapping: names of the ``.proto``, 64-bit numbers as text, bytes in base64, nothing that is unset."""
    ana = await doors.browse("?events=none")
    bob = await doors.connect("bob ñ")
    await bob.say("hola", data=b"\x00\xff")
    event = await ana.hear()
    assert event.pop("time").startswith("20")
    assert event == {
        "message": "bob ñ: hola",
        "kind": "EVENT_KIND_MESSAGE",
        "sender": "bob ñ",
        "session": bob.session,
        "seq": "1",
        "data": "AP8=",
    }


async def test_whoever_asks_is_answered(doors: LocalDoor) -> None:
    """Acks, duplicates, members, errors: as at the other doors, with the id of the request."""
    ana = await doors.browse(QUERY)
    welcome = await ana.hear()
    assert welcome["welcome"] == {
        "session": ana.headers["bcast-session"],
        "room": "lobby",
        "epoch": ana.headers["bcast-epoch"],
        "members": 1,
    }
    await ana.send({"msg": "a", "id": "1"}, {"msg": "a", "id": "1"}, {"operacion": "who", "id": "2"})
    await ana.send({"operacion": "nonsense", "id": "3"})
    events = [await ana.hear() for _ in range(4)]
    assert sum(event.get("ack", {}).get("duplicate", False) for event in events) == 1
    answers = {event["id"]: event for event in events if not event.get("ack", {}).get("duplicate")}
    assert answers["1"]["ack"] == {"seq": "1", "epoch": ana.headers["bcast-epoch"]}
    assert [member["name"] for member in answers["2"]["members"]["members"]] == ["ana"]
    assert answers["3"]["error"]["code"] == "ERROR_CODE_UNKNOWN_OPERATION"
    assert len(answers) == 3


async def test_frames_are_arrays_for_those_who_ask(doors: LocalDoor) -> None:
    """With ``batch=1`` every frame is an array, even of one event; without it none is."""
    ana, bob = await doors.browse("?batch=1&events=welcome"), await doors.browse("?events=welcome")
    assert isinstance(await ana.frame(), list)
    assert isinstance(await bob.frame(), dict)
    await ana.send(*[{"msg": f"{n}"} for n in range(500)])
    for n in range(500):
        assert (await bob.frame())["message"] == f"{n}"
    await bob.send(*[{"msg": f"{n}"} for n in range(500)])
    frames: list[Any] = []
    while sum(map(len, frames)) < 500:
        frames.append(await ana.frame())
    assert [event["message"] for frame in frames for event in frame] == [f"{n}" for n in range(500)]
    assert len(frames) < 100


@pytest.mark.parametrize("batch", ["", "&batch=1"])
async def test_frames_of_any_size_come_whole_and_in_order(doors: LocalDoor, batch: str) -> None:
    """Short ones are written in the flush, long ones by a task: the frame's header fits, and none overtakes another."""
    ana = await doors.browse(f"?events=none{batch}")
    bob = await doors.connect("", events="none")
    texts = ["x" * size for size in (0, 1, 2, 3, 40_000, 1, 15_000, 20_000, 126, 125)]
    for text in texts:
        await bob.say(f"{text}.")
        assert (await ana.hear())["message"] == f"{text}."  # nothing waits: the next one may go in the flush
    for text in texts:
        await bob.say(f"{text}.")
    assert [(await ana.hear())["message"] for _ in texts] == [f"{text}." for text in texts]


async def test_who_comes_back_goes_on_where_it_was(doors: LocalDoor) -> None:
    """``after``, ``history``, ``client`` and ``echo`` mean what they mean at the other doors."""
    bob = await doors.connect("bob")
    for n in range(5):
        await bob.say(f"{n}", id=f"{n}")
    await bob.answer("4")
    late = await doors.browse("?history=2")
    assert await late.hear_some(2) == ["bob: 3", "bob: 4"]
    ana = await doors.browse(f"?client=c&after={bob.epoch}:1")
    assert await ana.hear_some(4) == [f"bob: {n}" for n in range(1, 5)]
    await ana.send({"msg": "mine", "id": "x"})
    assert (await ana.hear())["ack"]["seq"] == "6"
    again = await doors.browse(f"?client=c&batch=1&after={bob.epoch}:4")
    assert [event["error"]["code"] for event in await ana.end()] == ["ERROR_CODE_REPLACED"]
    assert ana.closed == (4012, "the same bcast-client connected to this room again")
    assert await again.hear_some(1) == ["bob: 4"]
    await again.send({"msg": "mine", "id": "x"})
    assert (await again.hear())["ack"] == {"seq": "6", "epoch": bob.epoch, "duplicate": True}
    echo = await doors.browse(f"?client=c&echo=1&after={bob.epoch}:4")
    assert await echo.hear_some(2) == ["bob: 4", "mine"]
    gone = await doors.browse("?after=another:3&batch=1")
    assert (await gone.hear())["gap"] == {"reason": "GAP_REASON_NEW_EPOCH"}
    assert len(await gone.hear_some(6)) == 6


async def test_notices_are_those_that_were_asked_for(doors: LocalDoor) -> None:
    """Of joining, leaving and progress; by default only that somebody left."""
    ana, bob = await doors.browse("?events=joined,left"), await doors.browse()
    eva = await doors.browse("?name=eva")
    await eva.send({"operacion": "join", "msg": "evita"})
    await eva.send({"operacion": "leave", "id": "bye"})
    assert await ana.hear_some(3) == ["eva joined", "eva is now evita", "evita left"]
    assert await bob.hear_some(1) == ["evita left"]
    assert [event["id"] for event in await eva.end()] == ["bye"]
    assert eva.closed == (1000, "")


# --- faults


@pytest.mark.parametrize(
    ("query", "code", "reason"),
    [
        (
            "?nam=x",
            4006,
            "nam: is not a known key; the keys are name, room, client, events, batch, echo, after, history",
        ),
        ("?name=a&name=b", 4006, "name: is given twice; it must be given once"),
        ("?name=%20", 4005, "name: is blank (' '); a name is 1 to 64 characters"),
        ("?room=", 4006, "room: is blank (''); a name is 1 to 128 characters"),
        ("?room=%ZZ", 4006, "room: '%ZZ' is not percent-encoded; write % as %25"),
        ("?room=%FF", 4006, "room: '%FF' is not percent-encoded UTF-8, such as 'Jos%C3%A9'"),
        ("?batch=yes", 4006, "batch: must be 1 or 0, not 'yes'"),
        ("?history=-1&batch=1", 4006, "history: must be a number of messages, not '-1'"),
        ("?after=x&batch=1", 4006, "after: must be EPOCH:SEQ, as in '3f2a9c1d:42', not 'x'"),
    ],
)
async def test_a_handshake_that_does_not_fit(doors: LocalDoor, query: str, code: int, reason: str) -> None:
    """Browsers see nothing of a refused handshake: the WebSocket opens, says what was wrong, and is closed with it."""
    ana = await doors.browse(query)
    frame = await ana.frame()
    assert isinstance(frame, list) == ("batch=1" in query)
    (event,) = frame if isinstance(frame, list) else [frame]
    assert event["error"]["reason"] == reason
    assert "retryable" not in event["error"]
    assert await ana.end() == []
    assert ana.closed == (code, reason)
    await eventually(lambda: not doors.server.hub.clients)


async def test_a_plus_is_a_space(doors: LocalDoor) -> None:
    """As browsers write it in a query; and anything may be percent-encoded."""
    await doors.browse("?name=ana+mar%C3%ADa&room=" + quote("a+b/ñ 😀", safe=""))
    assert list(doors.server.hub.rooms) == ["a+b/ñ 😀"]
    assert [member.name for member in doors.server.hub.members("a+b/ñ 😀")] == ["ana maría"]


async def test_a_fault_of_one_request_is_an_event(doors: LocalDoor) -> None:
    """A value of the wrong type is answered with an error, and the WebSocket goes on; unknown keys are ignored."""
    ana, bob = await doors.browse("?batch=1"), await doors.connect()
    for request in ({"msg": 5, "id": "1"}, {"msg": "a", "data": "%", "id": "2"}, {"id": "3"}, [7]):
        await ana.send(request)  # type: ignore[arg-type]
    events = [await ana.hear() for _ in range(4)]
    assert [event.get("id", "") for event in events] == ["1", "2", "3", ""]
    codes = [event["error"]["code"].removeprefix("ERROR_CODE_") for event in events]
    assert codes == ["MALFORMED", "MALFORMED", "EMPTY_MESSAGE", "MALFORMED"]
    await ana.send({"operacion": None, "msg": "hola", "what": {"is": ["this"]}})
    assert (await bob.hear()).message == "hola"


@pytest.mark.parametrize("text", ["{", '{"msg":', "hola", "", '{"msg":"a"}{"msg":"b"}', '{"msg":"\\ud800"}'])
@pytest.mark.parametrize("batch", ["0", "1"])
async def test_a_frame_that_is_no_json_is_the_end(doors: LocalDoor, text: str, batch: str) -> None:
    """An event, the close code and its reason say so; the others get ``LEFT``."""
    bob, ana = await doors.browse(), await doors.browse(f"?name=ana&batch={batch}")
    await ana.socket.send(text)
    (event,) = await ana.end()
    assert event["error"]["code"] == "ERROR_CODE_MALFORMED"
    assert ana.closed[0] == 4016
    assert event["error"]["reason"].startswith(str(ana.closed[1]).removesuffix("…"))
    assert await bob.hear_some(1) == ["ana left"]


async def test_binary_frames_are_json_too(doors: LocalDoor) -> None:
    """What counts is what is in them; bytes that are no UTF-8 are no JSON."""
    ana, bob = await doors.browse(), await doors.connect()
    await ana.socket.send('{"msg":"ñ"}'.encode())
    assert (await bob.hear()).message == "ñ"
    await ana.socket.send(b'{"msg":"\xf1"}')
    await ana.end()
    assert ana.closed[0] == 4016


async def test_a_frame_that_is_too_large(doors: LocalDoor) -> None:
    """Four MiB are taken, as at the gRPC door; past them the WebSocket's own code says so, and nobody else notices."""
    bob, ana = await doors.browse(), await doors.browse("?name=ana")
    await ana.say("x" * 4_000_000, id="1")
    assert (await ana.hear())["error"]["code"] == "ERROR_CODE_MESSAGE_TOO_LARGE"
    with suppress(ConnectionClosed):
        await ana.say("x" * 5_000_000)
    await ana.end()
    assert ana.closed[0] == 1009
    assert await bob.hear_some(1) == ["ana left"]


async def test_a_reason_that_is_too_long_for_a_close_frame(doors: LocalDoor) -> None:
    """It is cut where a character ends; the event has all of it."""
    ana = await doors.browse("?" + quote("ñ" * 60) + "=1")
    (event,) = await ana.end()
    code, reason = ana.closed
    assert code == 4006
    assert reason
    assert reason.endswith("…")
    assert 118 <= len(reason.encode()) <= 123
    assert event["error"]["reason"].startswith(reason[:-1])


async def test_a_full_server_says_when_to_come_back(serve: Serve) -> None:
    """4010, and in the event: retryable, and after how long."""
    doors = await serve(http_port=0, max_clients=1)
    await doors.browse()
    late = await doors.browse()
    (event,) = await late.end()
    assert event["error"]["retryable"]
    assert event["error"]["retry_after"] == "5s"
    assert late.closed[0] == 4010


async def test_a_server_that_stops_says_so(serve: Serve) -> None:
    """CLOSING with what is queued before it, then 4013; a client that connects meanwhile gets the same."""
    doors = await serve(http_port=0)
    ana, bob = await doors.browse("?batch=1"), await doors.browse()
    await bob.say("last words")
    draining = asyncio.create_task(doors.server.drain())
    said, closing, error = await ana.end()
    assert said["message"] == "last words"
    assert closing["closing"]["reason"] == "the server is shutting down"
    assert closing["closing"]["reconnect_after"] == error["error"]["retry_after"]
    assert ana.closed == (4013, "the server is shutting down")
    await bob.end()
    await within(draining)


@pytest.mark.parametrize("query", ["", "?nam=x"])
async def test_a_handshake_that_is_none_is_answered(doors: LocalDoor, http: aiohttp.ClientSession, query: str) -> None:
    """A handshake without a version is refused for that, whatever else is wrong with it."""
    headers = {"Upgrade": "websocket", "Connection": "upgrade"}
    async with http.get(f"{doors.http}/ws{query}", headers=headers) as response:
        assert response.status == 400
        assert "Sec-WebSocket-Version" in await response.text()


async def test_departures_of_all_doors_are_told_to_all(doors: LocalDoor) -> None:
    """Whoever leaves, by whatever door, is missed by all."""
    watchers: list[Any] = [await doors.connect(), await doors.browse(), await doors.plug()]
    ana = await doors.connect("ana")
    bob = await doors.browse("?name=bob")
    eva = await doors.plug()
    await eva.send({"operacion": "join", "msg": "eva", "id": "1"})
    await eva.hear()
    ana.cancel()
    bob.socket.transport.abort()
    eva.reset()
    for watcher in watchers:
        texts = {text_of(await watcher.hear()) for _ in range(3)}
        assert texts == {"ana left", "bob left", "eva left"}
