"""The one thread that writes: what was published meanwhile in one transaction, then the answers."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

from bcast_grpc.broker.budget import Budget
from bcast_grpc.broker.order import Placed
from bcast_grpc.broker.sqlite import tables
from bcast_grpc.broker.sqlite.faults import FileGone, unavailable
from bcast_grpc.broker.sqlite.file import StoreFile
from bcast_grpc.broker.sqlite.room import Publish, StoredRoom
from bcast_grpc.broker.sqlite.trimmer import Trimmer

logger = logging.getLogger(__name__)

_MAX_WAITING = 16_384  # messages that are not written yet, of all rooms
_MAX_WAITING_BYTES = 16 * 1024 * 1024
_SPARE_ROWS = 256  # deleted with a publish, besides as many as it adds

Job: TypeAlias = Publish | Callable[[], None]


class Writer:
    """Does its jobs in their order, and trims the file in between.

    Attributes:
        hub: the hub's lock, held while a room is told.
    """

    def __init__(self, file: StoreFile, trimmer: Trimmer, budget: Budget) -> None:
        self.hub: AbstractContextManager[Any] = nullcontext()
        self._file = file
        self._trimmer = trimmer
        self._budget = budget
        self._changed = threading.Condition()
        self._jobs: list[Job] = []
        self._closing = False
        self._failing = ""
        self._waiting = self._waiting_bytes = 0
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
        self._thread.start()

    @property
    def congested(self) -> bool:
        """Whether there is enough to write for some time."""
        return (
            self._waiting >= _MAX_WAITING
            or self._waiting_bytes >= _MAX_WAITING_BYTES
            or len(self._jobs) >= _MAX_WAITING
        )

    def publish(self, publish: Publish) -> None:
        """Write entries, and tell their room."""
        publish.room.waiting += 1
        self._waiting += publish.messages
        self._waiting_bytes += publish.bytes
        self._budget.waiting += publish.bytes
        self.add(publish)

    def add(self, job: Job) -> None:
        """Do something when everything before has been written or refused."""
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()

    def close(self) -> bool:
        """Do what there is to do, then end; return False if that was said before."""
        with self._changed:
            if self._closing:
                return False
            self._closing = True
            self._changed.notify()
        self._thread.join()
        return True

    def _run(self) -> None:
        while jobs := self._next_jobs():
            began = time.monotonic()
            written = self._write(jobs)
            self._trimmer.step(written, time.monotonic() - began)
            while self._trimmer.busy and not self._jobs and not self._closing:
                self._trimmer.step()

    def _next_jobs(self) -> list[Job]:
        with self._changed:
            while not self._jobs and not self._closing and not self._trimmer.busy:
                self._changed.wait()
            jobs, self._jobs = self._jobs, []
        return jobs

    def _write(self, jobs: Sequence[Job]) -> int:
        """Write what was published and answer all jobs; return how many messages were written."""
        publishes = [job for job in jobs if isinstance(job, Publish)]
        try:
            if publishes:
                self._commit(publishes)
        except Exception as error:  # whatever it is, this thread must live, or nobody would be answered any more
            if not isinstance(error, sqlite3.Error | FileGone):
                logger.exception("a fault while writing to the store")
            with self.hub:
                self._refuse(jobs, error)
            return 0
        if publishes and self._failing:
            logger.info("the store can be written again")
            self._failing = ""
        for job in jobs:
            self._answer(job)
        return sum(publish.messages for publish in publishes)

    def _commit(self, publishes: Sequence[Publish]) -> None:
        """Write all of them in one transaction."""
        written: dict[str, tuple[StoredRoom, int, int]] = {}
        rooms = {publish.room.name: publish.room for publish in publishes}
        with self._file.transaction() as connection:
            spare = _SPARE_ROWS + sum(publish.messages for publish in publishes)
            for name, row in tables.insert(connection, publishes, self._file.line).items():
                known, trimmed = rooms[name], rooms[name].trimmed
                first = known.order.history.first
                if first > trimmed + 1 and tables.delete_before(connection, row, first, spare) < spare:
                    trimmed = first - 1
                written[name] = known, row, trimmed
        for known, row, trimmed in written.values():
            known.row, known.trimmed = row, trimmed

    def _answer(self, job: Job) -> None:
        try:
            if isinstance(job, Publish):
                with self.hub:
                    self._accept(job)
            else:
                job()
        except Exception:
            logger.exception("a fault while telling what was written")

    def _accept(self, job: Publish) -> None:
        known, placed = self._answered(job)
        known.order.history.extend(placed.events, placed.now_ns)
        if known.receiver:
            placed.tell(known.receiver)

    def _answered(self, job: Publish) -> tuple[StoredRoom, Placed]:
        job.room.waiting -= 1
        self._waiting -= job.messages
        self._waiting_bytes -= job.bytes
        self._budget.waiting -= job.bytes
        return job.room, job.placed

    def _refuse(self, jobs: Sequence[Job], error: Exception) -> None:
        """Refuse what could not be written, and what has been numbered after it meanwhile."""
        reason = unavailable(error)
        if self._failing != reason.reason:
            self._failing = reason.reason
            logger.error("%s", reason.reason)
        with self._changed:
            jobs, self._jobs = [*jobs, *self._jobs], []
        for job in jobs:
            if isinstance(job, Publish):
                job.room.order.take_back(job.placed.entries)
        for job in jobs:
            if isinstance(job, Publish):
                known, placed = self._answered(job)
                if known.receiver:
                    # What is sent again may be what could not be written just now.
                    known.receiver.refused(placed.asked, reason)
            else:
                job()
