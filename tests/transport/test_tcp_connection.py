"""A connection of the TCP door: who has much to write, and who has little."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bcast_grpc.transport import tcp_connection
from bcast_grpc.transport import turns as sharing
from bcast_grpc.transport.door import Shared
from bcast_grpc.transport.scheduler import LoopScheduler
from bcast_grpc.transport.serving import Serving
from bcast_grpc.transport.stream import Stream
from bcast_grpc.transport.tcp_connection import Connection


class Wire(asyncio.Transport):
    """A client that reads everything at once."""

    def write(self, data: Any) -> None:
        """Take bytes."""

    def is_closing(self) -> bool:
        """It is open."""
        return False


class History:
    """A stream that has so many pieces to write, each of which takes a quarter of what a pass has time for."""

    now = 0.0
    over = False

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self) -> bytes | None:
        """Return the next piece."""
        if not self.left:
            return None
        self.left -= 1
        History.now += 0.25
        return b"piece"


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only writing moves."""
    monkeypatch.setattr(History, "now", 0.0)
    monkeypatch.setattr(tcp_connection, "perf_counter", lambda: History.now)
    monkeypatch.setattr(sharing, "BUDGET_S", 1.0)


def connections(*histories: History) -> list[Connection]:
    """A connection for each."""
    shared, made = cast("Shared", SimpleNamespace(scheduler=LoopScheduler())), list[Connection]()
    for number, history in enumerate(histories):
        connection = Connection(shared, Serving(), f"192.0.2.{number}:1")
        connection._transport = Wire()
        connection._stream = cast("Stream", history)
        made.append(connection)
    return made


async def test_connections_with_much_to_write_share_what_a_pass_has_time_for() -> None:
    """However many there are, and all get on alike, also those that had no room in between."""
    histories = [History(100) for _ in range(10)]
    served = connections(*histories)
    for connection in served:
        connection.wake()
    await asyncio.sleep(0)
    begun = [history.left for history in histories]
    for _ in range(20):
        before = History.now
        served[0].pause_writing()
        served[0].resume_writing()
        await asyncio.sleep(0)
        assert History.now == before + 1
    assert {before - history.left for before, history in zip(begun, histories, strict=True)} == {8}


async def test_what_is_short_does_not_wait_behind_what_is_long() -> None:
    """As messages that are said now, beside histories."""
    *long, short = connections(*(History(100) for _ in range(10)), history := History(0))
    for connection in long:
        connection.wake()
    for _ in range(3):
        await asyncio.sleep(0)
        history.left = 1
        short._write()
        assert not history.left
        short._write()
