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
from .fault import Fault
from .guard import Guard

if TYPE_CHECKING:
    from .storm import Storm, Weather

_CLOCK_STEPS_S = (-86_400.0, -3700.0, -200.0, -0.005, 200.0, 3700.0)


def server_faults(weather: Weather) -> Iterator[Fault]:
    """Return what may happen in this weather."""
    yield Fault("server killed", 3, _kill)
    yield Fault("server drained", 2, _drain)
    yield Fault("server frozen", 1, _freeze)
    yield Fault("clock stepped", 2, _step_clock)
    yield Fault("log unread", 2, _leave_log_unread)
    if weather.durable:
        yield Fault("disk full", 3, _fill_disk)
    if weather.restores:
        yield Fault("backup restored", 3, _restore_backup)


async def _kill(storm: Storm) -> None:
    async with storm.restarting:
        await storm.node.kill()
        await storm.node.start()


async def _drain(storm: Storm) -> None:
    async with storm.restarting:
        await _drain_well(storm, "on SIGTERM")
        await storm.node.start()


async def _drain_well(storm: Storm, when: str) -> None:
    try:
        if code := await storm.node.drain():
            storm.outcome.violations.append(f"the server ended with {code} {when}")
    except TimeoutError:
        storm.outcome.violations.append(f"the server did not end {when}")


async def _freeze(storm: Storm) -> None:
    async with storm.restarting:
        storm.node.freeze()
    await storm.let_pass(0.2, 0.8)
    storm.node.thaw()


async def _step_clock(storm: Storm) -> None:
    """Set the wall clock, and leave it there."""
    storm.node.step_clock(storm.chance.choice(_CLOCK_STEPS_S))


async def _leave_log_unread(storm: Storm) -> None:
    """Read nothing of the log until it is full: the server answers meanwhile, and ends when it is told to."""
    async with storm.restarting:
        storm.node.leave_log_unread()
        await storm.let_pass(0.2, 1.0)
        if not await _answers(storm.node.addresses["grpc"], storm.guard):
            storm.outcome.violations.append("the server gave no answer while nobody read its log")
        if storm.chance.random() < 0.3:
            await _drain_well(storm, "on SIGTERM while nobody read its log")
            await storm.node.start()
        storm.node.read_log()


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
    async with storm.restarting:
        wal = storm.store.with_name(f"{storm.store.name}-wal")
        size = wal.stat().st_size if wal.exists() else 0
        storm.node.fill_disk(size + storm.chance.randrange(20_000))
    await storm.let_pass(0.2, 0.8)
    storm.node.free_disk()


async def _restore_backup(storm: Storm) -> None:
    """Take a copy of the store, let a while pass, and put it back: what was said meanwhile is lost."""
    copy = storm.store.with_name(f"copy-{storm.chance.getrandbits(32):08x}.db")
    whole = storm.chance.random() < 0.3
    if whole:  # all files of a server that is stopped
        async with storm.restarting:
            await _drain_well(storm, "before a copy")
            for file in storm.store.parent.glob(f"{storm.store.name}*"):
                shutil.copy2(file, file.with_name(file.name.replace(storm.store.name, copy.name)))
            await storm.node.start()
    else:
        await asyncio.to_thread(_copy, storm.store, copy, vacuum=storm.chance.random() < 0.5)
    await storm.let_pass(0.3, 2.0)
    async with storm.restarting:
        if storm.chance.random() < 0.5:
            await storm.node.kill()
        else:
            await _drain_well(storm, "before a copy is put back")
        _put_back(storm.store, copy, over=storm.chance.random() < 0.5)
        await storm.node.start()


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
