"""What a client's windows of HTTP/2 hold up, and what not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bcast_grpc.http2 import frames as wire
from bcast_grpc.http2.limits import DEFAULT_WINDOW
from benchmarks.attacker import CONNECT, Attacker, block, data, request

from .conftest import LocalDoor
from .peers import within

pytestmark = pytest.mark.grpc_engine("native", reason="grpcio's core writes by itself")


@pytest.fixture
async def attacker(door: LocalDoor) -> AsyncIterator[Attacker]:
    """A client whose first call has taken all of the connection's window; the second has got nothing yet."""
    attacker = await Attacker.connect(door.address)
    for stream in (1, 3):
        await attacker.send(request(stream, block(CONNECT, ("bcast-room", str(stream)))))
    await within(attacker.until(lambda: {1, 3} <= attacker.answered))
    sender = await door.connect(room="1")
    for _ in range(3):
        await sender.say("x" * 50_000)
    await within(attacker.until(lambda: attacker.taken == DEFAULT_WINDOW))
    yield attacker
    attacker.close()


async def test_an_end_needs_no_window(attacker: Attacker) -> None:
    """A call that has nothing else to write ends at once, though there is no room on the connection."""
    await attacker.send(data(3, b"", wire.END_STREAM))
    await within(attacker.until(lambda: 3 in attacker.ended))
    assert attacker.statuses == {3: 0}


async def test_an_end_waits_for_what_is_before_it(attacker: Attacker) -> None:
    """The first call is ended after its data."""
    await attacker.send(data(1, b"", wire.END_STREAM))
    await attacker.is_heard()
    assert not attacker.ended
    for _ in range(2):
        await attacker.send(wire.window_update(0, 100_000) + wire.window_update(1, 100_000))
    await within(attacker.until(lambda: 1 in attacker.ended))
    assert attacker.taken > 150_000
    assert attacker.statuses == {1: 0}
