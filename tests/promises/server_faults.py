"""What may happen to the server, its disk, its clock and its log."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.integration.peers import PATIENCE_S

from .client import channel_to
from .fault import ANY_SERVER, Fault
from .guard import Guard
from .node import Node

if TYPE_CHECKING:
    from .storm import Storm
    from .weather import Weather

_CLOCK_STEPS_S = (-86_400.0, -3700.0, -200.0, -0.005, 200.0, 3700.0)


def server_faults(weather: Weather) -> Iterator[Fault]:
    """Return what may happen in this weather."""
    what = ANY_SERVER if weather.restores and weather.replicas else frozenset[str]()
    yield Fault("server killed", 3, _kill, what)
    yield Fault("server drained", 2, _drain, what)
    yield Fault("server frozen", 1, _freeze, what)
    yield Fault("log unread", 2, _leave_log_unread, what)
    if weather.servers > 1:
        yield Fault("rolling restart", 1, _roll, what)
    if not weather.replicas:  # servers that share a log know the ages of what others wrote by their wall clocks
        yield Fault("clock stepped", 2, _step_clock)
    if weather.durable and not weather.replicas:
        yield Fault("disk full", 3, _fill_disk)
    if weather.restores and not weather.replicas:
        yield Fault("backup restored", 3, _restore_backup, frozenset({"the store's files"}))


async def _kill(storm: Storm) -> None:
    node = storm.any_node()
    async with node.restarting:
        await node.kill()
        await _stay_down(storm)
        await storm.start(node)


async def _drain(storm: Storm) -> None:
    node = storm.any_node()
    async with node.restarting:
        await _drain_well(storm, node, "on SIGTERM")
        await _stay_down(storm)
        await storm.start(node)


async def _stay_down(storm: Storm) -> None:
    """Wait, where others are there meanwhile."""
    if len(storm.nodes) > 1:
        await storm.let_pass(0.0, 3.0)


async def _roll(storm: Storm) -> None:
    """Restart one after the other."""
    for node in storm.nodes:
        async with node.restarting:
            await _drain_well(storm, node, "in a rolling restart")
            await storm.start(node)


async def _drain_well(storm: Storm, node: Node, when: str) -> None:
    try:
        if code := await node.drain():
            storm.outcome.violations.append(f"the server ended with {code} {when}")
    except TimeoutError:
        storm.outcome.violations.append(f"the server did not end {when}")


async def _freeze(storm: Storm) -> None:
    node = storm.any_node()
    async with node.restarting:
        node.freeze()
    await storm.let_pass(0.2, 0.8 if len(storm.nodes) == 1 else storm.chance.choice([0.8, 8.0]))
    node.thaw()


async def _step_clock(storm: Storm) -> None:
    """Set the wall clock, and leave it there."""
    storm.any_node().step_clock(storm.chance.choice(_CLOCK_STEPS_S))


async def _leave_log_unread(storm: Storm) -> None:
    """Read nothing of the log until it is full: the server answers meanwhile, and ends when it is told to."""
    node = storm.any_node()
    async with node.restarting:
        node.leave_log_unread()
        await storm.let_pass(0.2, 1.0)
        if not await _answers(node.addresses["grpc"], storm.guard):
            storm.outcome.violations.append("the server gave no answer while nobody read its log")
        if storm.chance.random() < 0.3:
            await _drain_well(storm, node, "on SIGTERM while nobody read its log")
            await storm.start(node)
        node.read_log()


async def _answers(address: str, guard: Guard | None) -> bool:
    """Whether the server says in time that it is well."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S), channel_to(address, guard, ()) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            return bool(await stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True))
    return False


async def _fill_disk(storm: Storm) -> None:
    for room in storm.outcome.rooms:
        room.refusing = True
    node = storm.any_node()
    async with node.restarting:
        wal = storm.store.with_name(f"{storm.store.name}-wal")
        size = wal.stat().st_size if wal.exists() else 0
        node.fill_disk(size + storm.chance.randrange(20_000))
    await storm.let_pass(0.2, 0.8)
    node.free_disk()


async def _restore_backup(storm: Storm) -> None:
    """Take a copy of the store, let a while pass, and put it back: what was said meanwhile is lost."""
    node = storm.any_node()
    copy = storm.store.with_name(f"copy-{storm.chance.getrandbits(32):08x}.db")
    whole = storm.chance.random() < 0.3
    if whole:  # all files of a server that is stopped
        async with node.restarting:
            await _drain_well(storm, node, "before a copy")
            for file in storm.store.parent.glob(f"{storm.store.name}*"):
                shutil.copy2(file, file.with_name(file.name.replace(storm.store.name, copy.name)))
            await storm.start(node)
    else:
        await asyncio.to_thread(_copy, storm.store, copy, vacuum=storm.chance.random() < 0.5)
    await storm.let_pass(0.3, 2.0)
    async with node.restarting:
        if storm.chance.random() < 0.5:
            await node.kill()
        else:
            await _drain_well(storm, node, "before a copy is put back")
        _put_back(storm.store, copy, over=storm.chance.random() < 0.5)
        await storm.start(node)


def _copy(store: Path, copy: Path, *, vacuum: bool) -> None:
    with closing(sqlite3.connect(store, timeout=PATIENCE_S)) as source:
        if vacuum:
            source.execute("VACUUM INTO ?", (str(copy),))
        else:
            with closing(sqlite3.connect(copy)) as target:
                source.backup(target)


def _put_back(store: Path, copy: Path, *, over: bool) -> None:
    """Put a copy in the place of a store, over the file that is there or after that is removed."""
    for name in (
        (f"{store.name}-wal", f"{store.name}-shm")
        if over
        else [file.name for file in store.parent.glob(f"{store.name}*")]
    ):
        store.with_name(name).unlink(missing_ok=True)
    for file in store.parent.glob(f"{copy.name}*"):
        target = store.with_name(file.name.replace(copy.name, store.name))
        shutil.copyfile(file, target) if over else shutil.copy2(file, target)
        file.unlink()
