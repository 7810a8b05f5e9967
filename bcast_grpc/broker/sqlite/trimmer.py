"""Deletes expired messages and ids from the file, in slices so small that no message waits long."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence

from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.sqlite import tables
from bcast_grpc.broker.sqlite.faults import FileGone, plainly
from bcast_grpc.broker.sqlite.file import StoreFile
from bcast_grpc.broker.sqlite.order import StoredOrder

logger = logging.getLogger(__name__)

SLICE_ROWS = 512
"""Most rows that a slice deletes, besides twice as many as were written just before."""

_SLICE_S = 0.003
_BITE = 64  # rows, or pages, between two looks at the clock
_ROOMS = 200  # rooms that are looked at in one bite
_PAGES = 1000  # most pages that are freed in one round
_SWEEP_NS = 60_000_000_000
_NS = 1_000_000_000


class Trimmer:
    """Goes through the file in rounds: rooms in memory and old ids in each round, all other rooms once a minute.

    All methods are called in the writer's thread.
    """

    def __init__(self, file: StoreFile, retention: Retention) -> None:
        self._file = file
        self._retention = retention
        self._round: Iterator[int] | None = None
        self._at_hand: Sequence[StoredOrder] = ()
        self._next_sweep_ns: int | None = None
        self._trouble = ""

    @property
    def busy(self) -> bool:
        """Whether a round is under way."""
        return self._round is not None

    def begin(self, at_hand: Sequence[StoredOrder], *, sweep: bool = True) -> None:
        """Begin a round, unless one is under way.

        Args:
            at_hand: the orders that are in memory, and are trimmed there already.
            sweep: whether the other rooms are looked at, too, if it is time.
        """
        if not self._round:
            self._at_hand = at_hand
            now_ns = self._file.line.now_ns()
            due = self._next_sweep_ns is None or now_ns >= self._next_sweep_ns
            if sweep and due:
                self._next_sweep_ns = now_ns + _SWEEP_NS
            self._round = self._bites(now_ns, at_hand, sweep=sweep and due)

    def step(self, written: int = 0, took_s: float = 0.0) -> None:
        """Delete one slice, in a transaction of its own.

        Args:
            written: how many messages the transaction before has written; the slice has to keep up with them.
            took_s: how long that took. The slice takes as long at most, or some milliseconds.
        """
        if not self._round:
            return
        rows, until = 0, time.monotonic() + max(_SLICE_S, took_s)
        try:
            with self._file.transaction(durable=False):
                for deleted in self._round:
                    rows += deleted
                    if rows + _BITE > SLICE_ROWS + 2 * written or time.monotonic() > until:
                        return
            self._round, self._trouble = None, ""
        except (sqlite3.Error, FileGone) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._round = None
        for order in self._at_hand:
            order.trimmed = 0  # the rollback brought back what was deleted
        trouble = plainly(error)
        if trouble != self._trouble and not isinstance(error, FileGone):  # publishes report a FileGone
            logger.warning("the store cannot be trimmed: %s", trouble)
        self._trouble = trouble

    def _bites(self, now_ns: int, at_hand: Sequence[StoredOrder], *, sweep: bool) -> Iterator[int]:
        """Delete some rows before each value, which is their number."""
        retention = self._retention
        for order in at_hand:
            yield from self._trim_room(order)
        while deleted := tables.delete_ids(self._file.writer, now_ns - round(retention.dedup_s * _NS), _BITE):
            yield deleted
        if sweep:
            rows = {order.row for order in at_hand}
            yield from self._sweep(now_ns - round(retention.age_s * _NS), rows)
        yield from self._give_back()

    def _trim_room(self, order: StoredOrder) -> Iterator[int]:
        oldest = order.oldest
        while oldest > order.trimmed + 1:
            if not tables.is_there(self._file.writer, order.row, order.epoch):
                return  # the row belongs to another order now
            deleted = tables.delete_before(self._file.writer, order.row, oldest, _BITE)
            if deleted < _BITE:
                order.trimmed = oldest - 1
            yield deleted

    def _sweep(self, oldest_ns: int, at_hand: set[int]) -> Iterator[int]:
        """Look at the rooms whose orders are not in memory."""
        after = 0
        while rooms := tables.read_rooms(self._file.writer, after, _ROOMS):
            after = rooms[-1][0]
            yield 0
            for row, oldest_message_ns, has_ids in rooms:
                if row in at_hand:
                    continue
                if oldest_message_ns is not None and oldest_message_ns < oldest_ns:
                    while deleted := tables.delete_old(self._file.writer, row, oldest_ns, _BITE):
                        yield deleted
                    yield tables.delete_empty(self._file.writer, row)
                elif oldest_message_ns is None and not has_ids:
                    yield tables.delete_empty(self._file.writer, row)

    def _give_back(self) -> Iterator[int]:
        """Free pages of the file that are no longer used."""
        for _ in range(0, _PAGES, _BITE):
            ((free,),) = self._file.writer.execute("PRAGMA freelist_count")
            if not free:
                break
            self._file.writer.execute(f"PRAGMA incremental_vacuum({_BITE})").fetchall()
            yield _BITE
