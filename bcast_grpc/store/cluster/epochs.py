"""Begins new epochs in a log in NATS, while servers use it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bcast_grpc.broker.base import CannotOpen
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.nats.log.chain import Chain, Fit
from bcast_grpc.broker.nats.log.incarnation import Incarnation
from bcast_grpc.broker.nats.log.limits import Limits
from bcast_grpc.broker.nats.log.record import Item, Record, UnknownVersionError, decode, encode, encode_item
from bcast_grpc.store.cluster.log import Log, Stored, each

_NS = 1_000_000_000
_MOST_RECORDS = 20_000


class Begun(NamedTuple):
    """A new epoch.

    Attributes:
        messages: how many are kept in it.
    """

    epoch: str
    messages: int


async def begin_epochs(log: Log, retention: Retention, rooms: Sequence[str] = ()) -> Mapping[str, Begun]:
    """Give rooms new epochs, and keep their messages; return the epochs by room.

    Servers take an epoch over as soon as they read the record that begins it. The messages follow it: those that
    servers would keep in their histories, and those whose ids they would remember.

    Args:
        log: where the rooms are.
        retention: what servers keep of each room.
        rooms: their names; empty for all.

    Raises:
        CannotOpen: there is no such room, or NATS does not answer.
    """
    subjects = {log.room_of(subject): subject for subject in await log.rooms()}
    if unknown := sorted(set(rooms) - subjects.keys()):
        raise CannotOpen(f"the log {log.shown} has no room {unknown[0]!r}; bcast-store info lists its rooms")
    chosen = {room: subjects[room] for room in sorted(set(rooms) or subjects)}
    me = Incarnation(secrets.token_hex(6))

    async def begin(subject: str) -> Begun:
        return await _Change(log, subject, me).begin(retention)

    return dict(zip(chosen, await each(begin, chosen.values()), strict=True))


class _Change:
    """The change of one room's epoch."""

    def __init__(self, log: Log, subject: str, me: Incarnation) -> None:
        self._log = log
        self._subject = subject
        self._me = me
        self._kept: list[Record] = []
        self._epoch = self._last = ""
        self._head = self._sequence = 0
        self._ids: set[tuple[str, str]] = set()

    async def begin(self, retention: Retention) -> Begun:
        """Begin an epoch at the log's end, and append what is kept."""
        self._epoch = secrets.token_hex(6)
        record = Record(self._epoch, 0, self._me.next_id(), "", time.time_ns(), self._me.name)
        while True:
            expected = await self._read(retention)
            sequence = await self._log.append(self._subject, encode(record, ()), expected)
            if sequence is not None:
                break
        self._last, self._sequence = record.id, sequence
        kept = 0
        for old in self._kept:
            kept += await self._repeat(old)
        return Begun(self._epoch, kept)

    async def _read(self, retention: Retention) -> int:
        """Read what there is, and return the place of the last record."""
        last = await self._log.last(self._subject)
        if last is None:
            return 0
        chain = Chain(Limits(tail_records=1, tail_items=1))
        records: list[Record] = []
        async for stored in self._log.records(self._subject, last.sequence):
            record = self._decode(stored)
            fit = chain.take(stored.sequence, record)
            if fit in (Fit.BEGINS, Fit.ANCHORS):
                records = []
            if fit is not Fit.VOID and record.items:
                records.append(record)
        self._kept = _worth_keeping(records, retention)
        return last.sequence

    def _decode(self, stored: Stored) -> Record:
        try:
            return decode(stored.data)
        except UnknownVersionError as error:
            raise CannotOpen(f"the room {self._log.room_of(self._subject)!r} cannot be read: {error}") from None

    async def _repeat(self, old: Record) -> int:
        """Append the messages of an old record behind the new epoch's last one; return how many there were."""
        while True:
            items = [item for item in old.items if not self._is_there(item)]
            if not items:
                return 0
            record = Record(
                self._epoch, self._head + 1, self._me.next_id(), self._last, old.time_ns, self._me.name, items
            )
            encoded = encode(record, map(encode_item, items))
            sequence = await self._log.append(self._subject, encoded, self._sequence)
            if sequence is not None:
                self._follow(sequence, record)
                return len(items)
            if not await self._catch_up():
                return 0

    async def _catch_up(self) -> bool:
        """Read what servers have appended meanwhile. Whether the epoch is still the same."""
        while (stored := await self._log.next(self._subject, self._sequence)) is not None:
            record = self._decode(stored)
            if record.epoch == self._epoch and record.first == self._head + 1 and record.previous == self._last:
                self._follow(stored.sequence, record)
            elif record.epoch and not record.first:
                return False
            else:
                self._sequence = stored.sequence  # it is void
        return True

    def _follow(self, sequence: int, record: Record) -> None:
        self._sequence, self._last = sequence, record.id
        self._head += len(record.items)
        self._ids.update((entry.author.key, entry.id) for _, entry in record.items if entry.id)

    def _is_there(self, item: Item) -> bool:
        """Whether its author has sent it again since the epoch began."""
        entry = item.entry
        return bool(entry.id) and (entry.author.key, entry.id) in self._ids


def _worth_keeping(records: Sequence[Record], retention: Retention) -> list[Record]:
    now_ns = time.time_ns()
    kept: list[Record] = []
    messages = 0
    for record in reversed(records[-_MOST_RECORDS:]):
        age_s = (now_ns - record.time_ns) / _NS
        if age_s > retention.dedup_s and (messages >= retention.messages or age_s > retention.age_s):
            break
        messages += len(record.items)
        kept.append(record)
    kept.reverse()
    return kept
