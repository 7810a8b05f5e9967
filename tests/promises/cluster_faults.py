"""What may happen to the NATS servers that hold the log, to the cables between them, and to those that lead to them.

Most is something that is done to some of them: the table at the end says what, and to which.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from tests.nats_server import NatsServer

from .cable import Cable
from .cluster import STREAM, subject_of
from .fault import ANY_SERVER, Fault

if TYPE_CHECKING:
    from .storm import Storm
    from .weather import Weather

_LOG = frozenset({"log"})
_LINK = frozenset({"link"})
_ALL = _LOG | _LINK | ANY_SERVER


def cluster_faults(weather: Weather) -> Iterator[Fault]:
    """Return what may happen in this weather."""
    for row in _TABLE:
        if weather.replicas >= row.replicas and (weather.restores or not row.loses):
            yield Fault(row.name, row.weight, row.happen, row.what)


class _Row(NamedTuple):
    """One kind of fault.

    Attributes:
        weight: how often it happens, beside the others.
        what: what it happens to.
        happen: lets it happen.
        replicas: how many NATS servers it takes at least.
        loses: whether the log loses what was acknowledged.
    """

    name: str
    weight: int
    what: frozenset[str]
    happen: Callable[[Storm], Coroutine[None, None, None]]
    replicas: int = 1
    loses: bool = False


# --- which NATS servers, and which cables

_Nodes: TypeAlias = Callable[["Storm"], Awaitable[Sequence[NatsServer]]]
_Cables: TypeAlias = Callable[["Storm"], Awaitable[Sequence[Cable]]]


async def _leader(storm: Storm) -> Sequence[NatsServer]:
    return [await storm.cluster.leader()]


async def _follower(storm: Storm) -> Sequence[NatsServer]:
    leader = await storm.cluster.leader()
    return [storm.chance.choice([node for node in storm.cluster.nodes if node is not leader])]


async def _two(storm: Storm) -> Sequence[NatsServer]:
    return storm.chance.sample(storm.cluster.nodes, 2)


async def _every(storm: Storm) -> Sequence[NatsServer]:
    return storm.cluster.nodes


async def _around_leader(storm: Storm) -> Sequence[Cable]:
    return storm.cluster.around(await storm.cluster.leader())


async def _around_follower(storm: Storm) -> Sequence[Cable]:
    (follower,) = await _follower(storm)
    return storm.cluster.around(follower)


async def _between_two(storm: Storm) -> Sequence[Cable]:
    """Both still reach the third."""
    return storm.cluster.between(*await _two(storm))


async def _routes(storm: Storm) -> Sequence[Cable]:
    return list(storm.cluster.routes.values())


async def _links(storm: Storm) -> Sequence[Cable]:
    """Those of one server."""
    return storm.chance.choice(storm.cluster.links)


# --- what is done to them


async def _restart(which: _Nodes, how: signal.Signals, storm: Storm) -> None:
    nodes = await which(storm)
    for node in nodes:
        await storm.cluster.kill(node, how)
    await storm.let_pass(0.1, 4.0)
    for node in nodes:
        node.start()


async def _freeze(which: _Nodes, storm: Storm) -> None:
    (node,) = await which(storm)
    node.freeze()
    await storm.let_pass(1.0, storm.chance.choice([5.0, 5.0, 14.0]))
    node.thaw()


async def _cut(which: _Cables, storm: Storm) -> None:
    for cable in await which(storm):
        cable.cut()


async def _hinder(which: _Cables, how: Callable[[Cable], None], most_s: float, storm: Storm) -> None:
    cables = await which(storm)
    for cable in cables:
        how(cable)
    await storm.let_pass(1.0, most_s)
    _mend(cables)


async def _slow(which: _Cables, bytes_per_s: Sequence[int], storm: Storm) -> None:
    pace = storm.chance.choice(bytes_per_s)
    await _hinder(which, lambda cable: cable.slow(pace), 5.0, storm)


async def _part(which: _Cables, storm: Storm) -> None:
    """Let nothing through: with errors at once, or as a black hole; then, what waited comes, or it is lost."""
    cables = await which(storm)
    refuses = storm.chance.random() < 0.5
    for cable in cables:
        if refuses:
            cable.refuse()
        else:
            cable.stall()
    await storm.let_pass(2.0, storm.chance.choice([6.0, 16.0]))
    if not refuses and storm.chance.random() < 0.5:
        for cable in cables:
            cable.cut()
    _mend(cables)


def _mend(cables: Sequence[Cable]) -> None:
    for cable in cables:
        cable.mend()


async def _step_down(storm: Storm) -> None:
    await storm.cluster.request(f"STREAM.LEADER.STEPDOWN.{STREAM}")


# --- what the log loses


async def _purge(storm: Storm) -> None:
    """Remove all that is in the log, or in that of one room."""
    room = storm.chance.choice(storm.outcome.rooms).name
    body = storm.chance.choice([{}, {"filter": subject_of(room)}])
    await storm.cluster.request(f"STREAM.PURGE.{STREAM}", json.dumps(body).encode())


async def _delete(storm: Storm) -> None:
    """Remove the log; servers make it again."""
    await storm.cluster.request(f"STREAM.DELETE.{STREAM}")
    await storm.let_pass(5.0, 8.0)


async def _put_back(storm: Storm, *, by_hand: bool) -> None:
    """Put an older copy of all data of NATS in place of what is there.

    Args:
        storm: where.
        by_hand: whether new epochs are begun as the documents say, before servers reach the log. Otherwise servers that
            know better have to notice, and nothing may keep the others from asking them.
    """
    nodes = storm.cluster.nodes
    copies = await _copied(storm, nodes)
    await storm.let_pass(0.5, 4.0)
    links = [cable for cables in storm.cluster.links for cable in cables]
    if by_hand:
        for cable in links:
            cable.refuse()
    for node in nodes:
        await storm.cluster.kill(node)
    for node, copy in zip(nodes, copies, strict=True):
        await asyncio.to_thread(node.restore, copy)
        node.start()
    if by_hand:
        await storm.cluster.begin_new_epochs()
        _mend(links)
    for node in nodes:
        await node.ready()


async def _copied(storm: Storm, nodes: Sequence[NatsServer]) -> list[Path]:
    for node in nodes:
        await storm.cluster.kill(node)
    copies = [await asyncio.to_thread(node.back_up) for node in nodes]
    for node in nodes:
        node.start()
    return copies


_TABLE = [
    _Row("cut from NATS", 2, _LINK, partial(_cut, _links)),
    _Row("refused by NATS", 1, _LINK, partial(_hinder, _links, Cable.refuse, 5.0)),
    _Row("black hole before NATS", 2, _LINK, partial(_hinder, _links, Cable.stall, 8.0)),
    _Row("slow line to NATS", 1, _LINK, partial(_slow, _links, (20_000, 200_000))),
    _Row("NATS leader killed", 2, _LOG, partial(_restart, _leader, signal.SIGKILL)),
    _Row("NATS leader stopped", 1, _LOG, partial(_restart, _leader, signal.SIGTERM)),
    _Row("NATS leader frozen", 2, _LOG, partial(_freeze, _leader)),
    _Row("NATS leader stepped down", 2, _LOG, _step_down, 3),
    _Row("NATS follower killed", 1, _LOG, partial(_restart, _follower, signal.SIGKILL), 3),
    _Row("NATS follower frozen", 1, _LOG, partial(_freeze, _follower), 3),
    _Row("two NATS servers killed", 1, _LOG, partial(_restart, _two, signal.SIGKILL), 3),
    _Row("all NATS servers killed", 1, _LOG, partial(_restart, _every, signal.SIGKILL), 3),
    _Row("NATS leader parted", 3, _LOG, partial(_part, _around_leader), 3),
    _Row("NATS follower parted", 1, _LOG, partial(_part, _around_follower), 3),
    _Row("two NATS servers parted", 1, _LOG, partial(_part, _between_two), 3),
    _Row("all NATS servers parted", 1, _LOG, partial(_part, _routes), 3),
    _Row("slow lines between NATS servers", 1, _LOG, partial(_slow, _routes, (100_000, 400_000)), 3),
    _Row("log purged", 3, _LOG, _purge, loses=True),
    _Row("log deleted", 1, _LOG, _delete, loses=True),
    _Row("backup of the log restored", 3, _LOG | _LINK, partial(_put_back, by_hand=True), loses=True),
    _Row("log set back unnoticed", 3, _ALL, partial(_put_back, by_hand=False), loses=True),
]
