"""What may happen to clients and to their cables."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from bcast_grpc.v1 import chat_pb2_grpc
from tests.integration.peers import PATIENCE_S

from .client import bearer, channel_to
from .fault import Fault
from .records import Client

if TYPE_CHECKING:
    from .storm import Storm
    from .weather import Weather

_FLOOD = 100
"""How many clients come at once."""


def client_faults(weather: Weather) -> Iterator[Fault]:
    """Return what may happen in this weather."""
    yield Fault("client killed", 2, _kill)
    yield Fault("client left", 1, _leave)
    yield Fault("host vanished", 1, _vanish)
    yield Fault("client frozen", 4, _freeze)
    yield Fault("connection cut", 4, _cut)
    yield Fault("connection stalled", 3, _stall)
    yield Fault("connection slowed", 3, _slow)
    yield Fault("half open at the server", 2, _hang_server)
    yield Fault("half open at the client", 2, _hang_client)
    if weather.servers > 1:
        yield Fault("everybody moves", 4, _move)
    if "grpc" in weather.doors and not weather.replicas:  # a log that is away holds them up
        yield Fault("flood of joins", 1, _flood)
        if not weather.guarded:
            yield Fault("client forked", 1, _fork)


async def _kill(storm: Storm) -> None:
    caller = storm.condemn()
    caller.cable.cut()
    await caller.stop()
    await storm.replace(caller)


async def _vanish(storm: Storm) -> None:
    caller = storm.condemn()
    reset = caller.cable.hang_server()
    await caller.stop()
    await storm.replace(caller)
    await _reset_later(storm, reset)


async def _leave(storm: Storm) -> None:
    caller = storm.condemn()
    await storm.let_leave(caller)
    await storm.replace(caller)


async def _freeze(storm: Storm) -> None:
    caller = storm.any_caller()
    caller.freeze()
    await storm.let_pass(0.2, 2.0)
    caller.thaw()


async def _cut(storm: Storm) -> None:
    storm.any_caller().cable.cut()


async def _move(storm: Storm) -> None:
    """Cut the connections of half of the clients: each comes back at any of the servers."""
    for caller in storm.callers:
        if storm.chance.random() < 0.5:
            caller.cable.cut()


async def _stall(storm: Storm) -> None:
    cable = storm.any_caller().cable
    cable.stall()
    await storm.let_pass(0.2, 2.0)
    cable.mend()


async def _slow(storm: Storm) -> None:
    cable = storm.any_caller().cable
    cable.slow(storm.chance.choice([2_000, 20_000]))
    await storm.let_pass(0.5, 2.0)
    cable.mend()


async def _hang_server(storm: Storm) -> None:
    await _reset_later(storm, storm.any_caller().cable.hang_server())


async def _reset_later(storm: Storm, reset: Callable[[], None]) -> None:
    """Reset the server's end of a half-open connection after a while, as a host does that has started again.

    The system at this end acknowledges what the server sends on it, and that is a sign of life: without the reset the
    server may rightly keep the client for ever.
    """
    await storm.let_pass(0.5, 6.0)
    reset()


async def _hang_client(storm: Storm) -> None:
    storm.any_caller().cable.hang_client()


async def _flood(storm: Storm) -> None:
    """Let many come in the same moment, each by a connection of its own, and go again."""
    room = storm.chance.choice(storm.outcome.rooms)
    passers = [storm.record_passer(room) for _ in range(_FLOOD)]
    async with storm.any_node().restarting:
        endings = await asyncio.gather(*(_pass_by(storm, room.name, passer) for passer in passers))
    refused = Counter(endings)
    storm.outcome.count["passers"] += refused.pop("", 0)
    storm.outcome.violations += [f"{count} of {_FLOOD} who came at once: {why}" for why, count in refused.items()]


async def _pass_by(storm: Storm, room: str, passer: Client) -> str:
    """Come in, and go at once; return why that was not possible."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    token = bearer(storm.guard.token(passer.key, lasting=True)) if storm.guard else ()
    metadata = (("bcast-room", room), ("bcast-client", passer.key), ("bcast-name", passer.key), *token)
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            async with channel_to(storm.any_node().addresses["grpc"], storm.guard, options) as channel:
                call = chat_pb2_grpc.ChatStub(channel).Connect(metadata=metadata)  # type: ignore[no-untyped-call]
                if await call.initial_metadata():
                    return ""
                return f"{await call.code()}: {await call.details()}"
    return "silence"


async def _fork(storm: Storm) -> None:
    """Let a program that uses the library fork while it is in a room."""
    room = storm.chance.choice(storm.outcome.rooms)
    arguments = [storm.any_node().addresses["grpc"], room.name, storm.record_passer(room).key]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.promises.forker", *arguments, stdout=PIPE, stderr=STDOUT
    )
    try:
        async with asyncio.timeout(4 * PATIENCE_S):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        said, _ = await process.communicate()
        storm.outcome.violations.append(f"a program that forked hangs: {said.decode()}")
    else:
        if process.returncode:
            storm.outcome.violations.append(f"a program that forked ended with {process.returncode}: {said.decode()}")
