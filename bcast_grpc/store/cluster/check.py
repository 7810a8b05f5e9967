"""Checks a log in NATS: whether each record follows the one before it, and no message is in it twice."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bcast_grpc.broker.nats.jetstream.health import away_from
from bcast_grpc.broker.nats.log.chain import Chain, Fit
from bcast_grpc.broker.nats.log.limits import Limits
from bcast_grpc.broker.nats.log.record import Record, UnknownVersionError, decode
from bcast_grpc.store.cluster.log import Log, Stored
from bcast_grpc.store.text import shown

MAX_LINES = 100

_SKEW_S = 5.0
_NS = 1_000_000_000
_ONE = Limits(tail_records=1, tail_items=1)


async def find_damage(log: Log, dedup_s: float) -> AsyncIterator[str]:
    """Yield a line for each fault, 100 at most; none if the log is sound.

    That most of the NATS servers that keep it are away is one: nobody knows what they have.

    Memory: the ids of the messages of ``dedup_s`` are remembered, by the times in their records.

    Args:
        log: what is read, up to its end when this begins.
        dedup_s: how long servers remember an id. The same one may come again afterwards.

    Raises:
        CannotOpen: it cannot be read.
    """
    found = await log.info()
    last = found["state"]["last_seq"]
    keepers, away = found["config"]["num_replicas"], len(away_from(found.get("cluster") or {}))
    lines = 0
    if 2 * away >= keepers > 1:
        lines += 1
        yield f"{away} of the {keepers} NATS servers that keep it are away: what they have is not known"
    rooms: dict[str, _Room] = {}
    async for stored in log.records(log.names.log_of_all, last):
        room = rooms.get(stored.subject)
        if room is None:
            room = rooms[stored.subject] = _Room(dedup_s)
        for fault in room.look_at(stored):
            yield f"room {shown(log.room_of(stored.subject))}: record {stored.sequence} {fault}"
            lines += 1
            if lines >= MAX_LINES:
                return


class _Room:
    """What has been read of a room."""

    def __init__(self, dedup_s: float) -> None:
        self._chain = Chain(_ONE)
        self._ids = _Recent(dedup_s - _SKEW_S)  # the times are of several machines
        self._uids = _Recent(dedup_s)
        self._unknown = False

    def look_at(self, stored: Stored) -> list[str]:
        try:
            record = decode(stored.data)
        except UnknownVersionError as error:
            first, self._unknown = not self._unknown, True
            return [f"is of version {error.version}, which only a newer program can read"] * first
        before = (self._chain.epoch, self._chain.head, self._chain.last)
        fit = self._chain.take(stored.sequence, record)
        if fit is Fit.VOID or (fit is Fit.ANCHORS and before[0]):
            return [f"{_why(record, *before)}; servers skip it"]
        if record.epoch != before[0]:
            self._ids.clear()
            self._uids.clear()
        return self._twice(record)

    def _twice(self, record: Record) -> list[str]:
        faults = []
        for seq, (uid, entry) in enumerate(record.items, record.first):
            if other := self._uids.add(uid, seq, record.time_ns):
                faults.append(f"has message {uid} as seq {seq}, which is seq {other} already")
            elif entry.id and (other := self._ids.add((entry.author.key, entry.id), seq, record.time_ns)):
                faults.append(f"has id {shown(entry.id)} as seq {seq}, which its author gave to seq {other} already")
        return faults


def _why(record: Record, epoch: str, head: int, last: str) -> str:
    if not record.epoch:
        return "cannot be read"
    if record.epoch != epoch:
        return f"is of epoch {shown(record.epoch)}, while the room is in epoch {shown(epoch)}"
    if record.first != head + 1:
        return f"begins with seq {record.first}, while the one before it ends with {head}"
    return f"follows record {shown(record.previous)}, while the one before it is {shown(last)}"


class _Recent:
    """Ids of some time, and the places of their messages."""

    def __init__(self, age_s: float) -> None:
        self._age_ns = int(max(age_s, 0) * _NS)
        self._places: dict[object, tuple[int, int]] = {}

    def clear(self) -> None:
        """Forget all."""
        self._places.clear()

    def add(self, id_: object, seq: int, time_ns: int) -> int:
        """Remember an id; return the place that it has already, or 0."""
        places = self._places
        while places and next(iter(places.values()))[1] < time_ns - self._age_ns:
            del places[next(iter(places))]
        if known := places.get(id_):
            return known[0]
        places[id_] = seq, time_ns
        return 0
