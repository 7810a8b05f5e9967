"""WebSockets whose clients do not read, or are gone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from bcast_grpc.transport import websocket
from bcast_grpc.transport.http_door import HttpDoor
from bcast_grpc.transport.lingering import taken

from .conftest import LocalDoor, Serve
from .peers import within

pytestmark = pytest.mark.usefixtures("unhurried")

QUERY = "?name=ana&batch=1&events=all"


def text_of(event: Any) -> str:
    """What an event of any door says to a person."""
    return str(event["message"] if isinstance(event, dict) else event.message)


async def test_who_stops_reading_is_disconnected(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its queue is bounded, the others notice nothing, and what it was to read ends with the reason, if it reads on."""
    doors = await serve(http_port=0, queue_messages=100)
    bob = await doors.connect()
    slow, ana = await doors.browse("?name=slow&batch=1"), await doors.browse("?batch=1")
    slow.socket.transport.pause_reading()
    said = 0
    while not ana.heard or ana.heard[-1].get("message") != "slow left":
        await bob.say(data=bytes(60_000))
        said += 1
        await ana.hear()
        assert said < 1000
    slow.socket.transport.resume_reading()
    *events, error = await slow.end()
    assert [event["seq"] for event in events] == [f"{n + 1}" for n in range(len(events))]
    assert len(events) < said
    assert error["error"]["code"] == "ERROR_CODE_SLOW_CONSUMER"
    assert error["error"]["retryable"]
    assert slow.closed[0] == 4011


async def test_who_keeps_up_is_not_slow_whatever_it_is_sent(doors: LocalDoor) -> None:
    """What JSON writes six times as long is counted as such: nobody is disconnected for what somebody else says."""
    ana = await doors.browse("?batch=1")
    bob, eva = await doors.browse("?batch=1"), await doors.plug()
    await eva.send({"operacion": "who"})
    await eva.hear()
    for _ in range(5):
        await ana.send(*[{"msg": "\x01" * 6000} for _ in range(100)])
        heard = await asyncio.gather(bob.hear_some(100), eva.hear_some(100))  # a queue holds one such burst, not two
        assert [len(events) for events in heard] == [100, 100]


async def test_a_queue_holds_one_message_in_any_format(serve: Serve) -> None:
    """However small the bound and however long the message is as JSON."""
    doors = await serve(http_port=0, queue_bytes=70_000)
    ana, bob = await doors.browse(), await doors.browse()
    for _ in range(3):
        await ana.say("\x01" * 60_000)
        assert len((await bob.hear())["message"]) == 60_000


async def test_who_falls_behind_may_be_told_of_a_gap(serve: Serve) -> None:
    """The policies are those of the other doors: ``drop`` tells what is missing."""
    doors = await serve(http_port=0, queue_messages=100, slow_policy="drop")
    bob, slow = await doors.connect(), await doors.browse("?batch=1")
    slow.socket.transport.pause_reading()
    for n in range(400):
        await bob.say(data=bytes(60_000), id=f"{n}")
        await bob.hear()
    slow.socket.transport.resume_reading()
    seen: list[int] = []
    while not seen or seen[-1] < 400:
        event = await slow.hear()
        if "gap" in event:
            seen += range(int(event["gap"]["first_missed"]), int(event["gap"]["last_missed"]) + 1)
        else:
            seen.append(int(event["seq"]))
    assert seen == list(range(1, 401))
    assert any("gap" in event for event in slow.heard)


async def test_who_does_not_answer_a_ping_is_gone(serve: Serve) -> None:
    """Within twice the keepalive, and its departure is announced; a client that answers stays."""
    doors = await serve(http_port=0, keepalive_s=0.3)
    bob, ana = await doors.browse(), await doors.browse("?name=ana")
    ana.socket.transport.pause_reading()  # so that it does not see the ping
    assert await bob.hear_some(1) == ["ana left"]
    assert doors.server.hub.clients == 1


async def test_who_is_cut_off_is_gone_at_once(doors: LocalDoor) -> None:
    """Nobody waits for a connection that was reset, even while much is queued for it."""
    bob, ana = await doors.browse(), await doors.browse("?name=ana&batch=1")
    eva = await doors.connect()
    ana.socket.transport.pause_reading()
    for n in range(50):
        await eva.say(data=bytes(60_000), id=f"{n}")
        await eva.hear()
    ana.socket.transport.abort()
    assert len(await bob.hear_until("ana left")) == 50
    assert doors.server.hub.clients == 2


async def test_a_goodbye_is_answered(doors: LocalDoor) -> None:
    """Who closes its WebSocket has left, whatever was queued for it."""
    bob, ana = await doors.browse(), await doors.browse("?name=ana")
    await within(ana.socket.close())
    assert ana.closed == (1000, "")
    assert await bob.hear_some(1) == ["ana left"]


async def test_who_takes_its_last_words_is_watched_until_it_has_them(
    doors: LocalDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow line the system would give it up meanwhile, unless it is given more time while answers come."""
    (door,) = (door for door in doors.server.doors if isinstance(door, HttpDoor))
    keepalive, watched = door._shared.keepalive, list[bool]()

    async def note(transport: asyncio.WriteTransport) -> None:
        watched.append(any(keepalive._due.values()))
        await taken(transport)

    monkeypatch.setattr(websocket, "taken", note)
    ana = await doors.browse("?name=ana")
    await ana.send({"operacion": "leave"})
    assert await ana.end() == []
    assert (ana.closed, watched) == ((1000, ""), [True])
    assert not any(keepalive._due.values())


async def test_whoever_asks_faster_than_it_reads_waits(serve: Serve) -> None:
    """Its own answers hold its requests up, not the others, and it is not disconnected for them."""
    doors = await serve(http_port=0, queue_messages=200)
    ana = await doors.browse("?batch=1", ping_interval=None)  # a ping waits behind what is held up
    ids = [f"{n}" for n in range(2000)]
    asking = asyncio.create_task(ana.socket.send(json.dumps([{"operacion": "who", "id": one} for one in ids])))
    assert [(await ana.hear())["id"] for _ in ids] == ids
    await asking
