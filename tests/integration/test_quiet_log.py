"""The log has one line for each change of the connection, however many rooms are open."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from tests.nats_server import running

from .conftest import Serve
from .peers import eventually

ROOMS = 1000

pytestmark = pytest.mark.one_engine


async def test_nats_flaps_under_a_thousand_rooms(
    serve: Serve, nats_program: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each time it goes there is one line, and one when it is back."""
    caplog.set_level(logging.INFO)
    with running(nats_program, tmp_path) as nats:
        door = await serve(store=nats.url)
        ana = await door.connect("ana")
        await asyncio.gather(*(door.server.publish(f"{number}", "hola") for number in range(ROOMS)))
        caplog.clear()
        for _ in range(3):
            nats.kill()
            await eventually(lambda: bool(door.server.hub.readiness.why_not))
            nats.start()
            await eventually(lambda: not door.server.hub.readiness.why_not)
            await ana.say("still here", id="1")
            await ana.answer("1")
        lines = [record.getMessage() for record in caplog.records if record.name.startswith("bcast_grpc")]
        assert len([line for line in lines if line.startswith("the connection to NATS was lost: ")]) == 3
        assert len([line for line in lines if line == "connected to NATS again"]) == 3
        assert len(lines) <= 3 * 2 + 2
