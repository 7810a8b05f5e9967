"""What NATS answers to appends, and how rarely the log tells of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest
from nats.aio.msg import Msg

from bcast_grpc.broker.nats.connection.requests import Lost
from bcast_grpc.broker.nats.jetstream import silence, watch
from bcast_grpc.broker.nats.jetstream.courier import Courier, Wire
from bcast_grpc.broker.nats.log.actions import Append
from bcast_grpc.broker.nats.log.room_log import RoomLog
from bcast_grpc.broker.nats.names import Names


class _Full:
    """NATS with a full disk."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] = {"error": {"err_code": 10047, "description": "insufficient storage"}, "seq": 0}

    async def request(self, *_: object) -> Msg:
        return Msg(cast("Any", None), data=json.dumps(self.answer).encode())


class _Log:
    """A room's log, and what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def unknown(self, _: int, why: str = "") -> list[Any]:
        self.told.append("unknown")
        return []

    def stored(self, _: int, sequence: int) -> list[Any]:
        self.told.append(f"stored {sequence}")
        return []


async def test_a_full_disk_is_told_of_rarely(caplog: pytest.LogCaptureFixture) -> None:
    """A thousand rooms try again some times a second; health says why nothing is stored, until something is."""
    wire, log = _Full(), _Log()
    courier = Courier(cast("Wire", wire), Names("c"))
    for room in range(1000):
        await courier.carry(f"{room}", cast("RoomLog", log), Append(room, 0, b""))
    assert [record.getMessage() for record in caplog.records] == [
        "NATS did not store a record of the room 0, and perhaps of others: insufficient storage"
    ]
    assert courier.trouble == "NATS does not store messages: insufficient storage"
    wire.answer = {"seq": 7}
    await courier.carry("a", cast("RoomLog", log), Append(1, 0, b""))
    assert not courier.trouble
    assert (log.told.count("unknown"), log.told[-1]) == (1000, "stored 7")


class _CannotWrite:
    """NATS whose disk was full: it answers everything but appends, whatever room there is."""

    def __init__(self) -> None:
        self.has_others = False
        self.moved: list[str] = []
        self.prove: object = None
        self.stores = False

    async def request(self, subject: str, *_: object) -> Msg:
        if subject.startswith("$JS") or self.stores:
            return Msg(cast("Any", None), data=json.dumps({"seq": 7, "message": {"seq": 7}}).encode())
        raise Lost

    async def move_on(self, why: str) -> None:
        self.moved.append(why)


async def test_a_nats_that_stores_nothing_any_more_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it does; where there is no other one, the connection to it stays."""
    now_s = 100.0
    monkeypatch.setattr(silence, "monotonic", lambda: now_s)
    wire, log = _CannotWrite(), cast("RoomLog", _Log())
    courier = Courier(cast("Wire", wire), Names("c"))
    for _ in range(8):
        assert not courier.stores_nothing(15)
        await courier.carry("a", log, Append(1, 0, b""))
        await courier.probe()
        now_s += 2
    assert not courier.is_silent(15)
    assert courier.stores_nothing(15)
    assert "it has answered none for 15 s" in courier.trouble

    async def look() -> None:
        looking = asyncio.create_task(watch.watch(courier, cast("Any", wire), 15))
        for _ in range(50):  # some looks
            await asyncio.sleep(0)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)

    monkeypatch.setattr(watch, "_PROBE_S", 0)
    await look()
    assert not wire.moved
    wire.has_others = True
    await look()
    assert set(wire.moved) == {"the log has not answered for 15 s"}
    courier.reconnected()
    assert courier.trouble
    wire.stores = True
    await courier.carry("a", log, Append(1, 0, b""))
    assert not courier.trouble
