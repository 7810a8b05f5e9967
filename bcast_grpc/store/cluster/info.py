"""What is in a log in NATS, and who holds it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bcast_grpc.broker.nats.log.record import UnknownVersionError, decode
from bcast_grpc.broker.nats.peers.peers import About, Peer
from bcast_grpc.store.cluster.log import Log, each
from bcast_grpc.store.text import as_time, counted, shown, table


@dataclass(frozen=True, slots=True)
class RoomInfo:
    """One room, as its last record says.

    Attributes:
        epoch: None if the record is void, or of a newer version.
        head: the ``seq`` of the last message.
        records: how many the log has.
        newest: when the last one was written.
    """

    room: str
    epoch: str | None
    head: int | None
    records: int
    newest: str | None


@dataclass(frozen=True, slots=True)
class ReplicaInfo:
    """A NATS server that holds the stream.

    Attributes:
        state: ``leader``, ``current``, ``behind`` or ``offline``.
        lag: how many changes it has not followed yet.
    """

    server: str
    state: str
    lag: int


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A server that uses the log, as it says itself.

    Attributes:
        incarnation: another one after each start.
        version: of bcast_grpc.
        started: when.
    """

    incarnation: str
    host: str
    port: int
    pid: int
    version: str
    started: str | None


@dataclass(frozen=True, slots=True)
class LogInfo:
    """A cluster's log.

    Attributes:
        stream: its name.
        servers: where NATS is.
        bytes: of the records in NATS.
        max_bytes: the bound on these; -1 for none.
        oldest, newest: when the first and the last record came.
        leader: the NATS server that decides; None where there is only one.
        wanted_replicas: how many there should be.
        running: the servers of the cluster that have answered within a second.
    """

    stream: str
    servers: str
    created: str
    bytes: int
    max_bytes: int
    max_age_s: float
    records: int
    oldest: str | None
    newest: str | None
    leader: str | None
    wanted_replicas: int
    replicas: Sequence[ReplicaInfo]
    running: Sequence[ServerInfo]
    rooms: Sequence[RoomInfo]


async def look_into(log: Log) -> LogInfo:
    """Ask the stream's leader.

    Raises:
        CannotOpen: it cannot be read.
    """
    found = await log.info()
    counts = await log.rooms()
    config, state, cluster = found["config"], found["state"], found.get("cluster") or {}

    async def look(subject: str) -> RoomInfo:
        return _room(log.room_of(subject), counts[subject], await log.last(subject))

    rooms = await each(look, counts)
    running = sorted(map(_server, await log.servers()), key=lambda one: (one.host, one.port, one.incarnation))
    return LogInfo(
        log.names.stream,
        log.shown.partition(" on ")[2],
        found["created"][:19] + "Z",
        state["bytes"],
        config["max_bytes"],
        config["max_age"] / 1_000_000_000,
        state["messages"],
        _when(state, "first_ts"),
        _when(state, "last_ts"),
        cluster.get("leader"),
        config["num_replicas"],
        list(_replicas(cluster)),
        running,
        sorted(rooms, key=lambda room: room.room),
    )


def _when(state: Mapping[str, Any], name: str) -> str | None:
    return f"{state[name][:19]}Z" if state["messages"] else None


def _replicas(cluster: Mapping[str, Any]) -> Sequence[ReplicaInfo]:
    leader = [ReplicaInfo(cluster["leader"], "leader", 0)] if cluster.get("leader") else []
    return leader + [
        ReplicaInfo(
            one["name"],
            "offline" if one.get("offline") else "current" if one.get("current") else "behind",
            one.get("lag", 0),
        )
        for one in cluster.get("replicas") or ()
    ]


def _server(peer: Peer) -> ServerInfo:
    release, host, port, pid, since_ns = peer.about or About()
    return ServerInfo(peer.name, host, port, pid, release, as_time(since_ns or None))


def _room(room: str, records: int, last: Any) -> RoomInfo:
    if last is None:  # it has expired since
        return RoomInfo(room, None, None, records, None)
    try:
        record = decode(last.data)
    except UnknownVersionError:
        return RoomInfo(room, None, None, records, None)
    if not record.epoch:
        return RoomInfo(room, None, None, records, None)
    head = max(record.first - 1, 0) + len(record.items)
    return RoomInfo(room, record.epoch, head, records, as_time(record.time_ns))


def as_json(found: LogInfo) -> str:
    """Return it for a program."""
    return json.dumps(asdict(found), ensure_ascii=False)


def as_text(found: LogInfo) -> str:
    """Return it for a person."""
    counts = f"{counted(len(found.rooms), 'room')}, {counted(found.records, 'record')}, {found.bytes} bytes"
    bound = f" of {found.max_bytes}" if found.max_bytes > 0 else ""
    ages = f"; oldest {found.oldest}, newest {found.newest}" if found.records else ""
    replicas = ", ".join(_shown(one) for one in found.replicas)
    return "\n".join(
        [
            f"{found.stream} on {found.servers}: {counts}{bound}; kept for {found.max_age_s:g} s{ages}",
            f"replicas: {found.wanted_replicas}{' (' if replicas else ''}{replicas}{')' if replicas else ''}",
            f"servers: {len(found.running)}",
            *table(
                ("incarnation", "host", "port", "pid", "version", "started"),
                (tuple(asdict(one).values()) for one in found.running),
            ),
            *table(
                ("room", "epoch", "head", "records", "newest"), (tuple(asdict(room).values()) for room in found.rooms)
            ),
        ]
    )


def _shown(replica: ReplicaInfo) -> str:
    lag = f" by {replica.lag}" if replica.state == "behind" and replica.lag else ""
    return f"{shown(replica.server)}: {replica.state}{lag}"
