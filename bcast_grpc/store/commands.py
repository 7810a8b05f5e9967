"""The commands on a log in NATS, with the settings of a server: each connects, does its work, and leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from bcast_grpc.broker.base import CannotOpen
from bcast_grpc.broker.history import Retention
from bcast_grpc.settings import Settings
from bcast_grpc.store.text import counted, shown

if TYPE_CHECKING:
    from bcast_grpc.store.cluster.log import Log

T = TypeVar("T", covariant=True)


class _Work(Protocol[T]):
    def __call__(self, log: Log) -> Coroutine[Any, Any, T]:
        """Do it."""


def _do(settings: Settings, work: _Work[T]) -> T:
    from bcast_grpc.server.shared_store import cluster_of
    from bcast_grpc.transport.address import CannotStart

    try:
        cluster = cluster_of(settings)
    except CannotStart as error:
        raise CannotOpen(str(error)) from None
    from bcast_grpc.store.cluster.log import Log  # it needs nats-py, and that is there now

    async def connected() -> T:
        async with Log(cluster) as log:
            return await work(log)

    return asyncio.run(connected())


def info(settings: Settings, *, json: bool) -> str:
    """Return what is in the log, for a program or a person.

    Raises:
        CannotOpen: it cannot be read.
    """

    async def look(log: Log) -> str:
        from bcast_grpc.store.cluster import info

        found = await info.look_into(log)
        return info.as_json(found) if json else info.as_text(found)

    return _do(settings, look)


def check(settings: Settings) -> Iterator[str]:
    """Return a line for each fault in the log.

    Raises:
        CannotOpen: it cannot be read.
    """

    async def look(log: Log) -> list[str]:
        from bcast_grpc.store.cluster.check import find_damage

        return [line async for line in find_damage(log, settings.dedup_s)]

    return iter(_do(settings, look))


def new_epochs(settings: Settings, rooms: Sequence[str]) -> Iterator[str]:
    """Begin new epochs in some rooms, or in all if none is named; return a line for each.

    Raises:
        CannotOpen: there is no such room, or NATS does not answer.
    """

    async def begin(log: Log) -> list[str]:
        return await _begin(log, settings, rooms)

    return iter(_do(settings, begin))


async def _begin(log: Log, settings: Settings, rooms: Sequence[str] = ()) -> list[str]:
    from bcast_grpc.store.cluster.epochs import begin_epochs

    retention = Retention(
        messages=settings.history_messages,
        bytes=settings.history_bytes,
        age_s=settings.history_age_s,
        dedup_s=settings.dedup_s,
    )
    begun = await begin_epochs(log, retention, rooms)
    return [f"{shown(room)}: {epoch}, with {counted(messages, 'message')}" for room, (epoch, messages) in begun.items()]


def save(settings: Settings, folder: Path, *, overwrite: bool) -> int:
    """Copy the log into a folder; return the size in bytes.

    Raises:
        CannotOpen: it cannot be read, or the folder is not to be replaced.
        CannotWrite: the copy cannot be written.
    """

    async def work(log: Log) -> int:
        from bcast_grpc.store.cluster import backup

        return await backup.save(log, folder, overwrite=overwrite)

    return _do(settings, work)


def restore(folder: Path, settings: Settings, *, overwrite: bool) -> Iterator[str]:
    """Make the log from a copy, and begin new epochs in all rooms; return what is said of that.

    Raises:
        CannotOpen: there is no such copy, or the log is not to be replaced.
        CannotWrite: NATS did not take it.
    """

    async def work(log: Log) -> list[str]:
        from bcast_grpc.store.cluster import backup

        records = await backup.restore(log, folder, overwrite=overwrite)
        return [f"{log.shown}: {counted(records, 'record')} restored", *await _begin(log, settings)]

    return iter(_do(settings, work))
