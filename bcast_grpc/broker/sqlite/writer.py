"""The thread that writes: everything that waits in one transaction, then the answers."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from bcast_grpc.broker.base import Outcome, Refused
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.order import accepted
from bcast_grpc.broker.sqlite import tables
from bcast_grpc.broker.sqlite.faults import FileGone, unavailable
from bcast_grpc.broker.sqlite.file import StoreFile
from bcast_grpc.broker.sqlite.order import Marker, Publish, StoredOrder
from bcast_grpc.broker.sqlite.trimmer import Trimmer

logger = logging.getLogger(__name__)

_SPARE_ROWS = 256  # deleted with a publish, besides as many as it adds

Chore: TypeAlias = Callable[[], None]
Job: TypeAlias = Publish | Marker | Chore
Answer: TypeAlias = tuple[Publish, Sequence[Outcome]] | Marker


class Writer:
    """Does jobs in their order, and trims the file in between.

    Args:
        file: the store.
        trimmer: trims the file.
        retention: how much is kept.
        answer: called in the writer's thread with the outcomes of publishes, and the markers among them, in order.
    """

    def __init__(
        self, file: StoreFile, trimmer: Trimmer, retention: Retention, answer: Callable[[Sequence[Answer]], None]
    ) -> None:
        self._file = file
        self._trimmer = trimmer
        self._retention = retention
        self._answer = answer
        self._changed = threading.Condition()
        self._jobs: list[Job] = []
        self._closing = False
        self._failing = ""
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
        self._thread.start()

    def add(self, job: Job) -> None:
        """Add a job, to be done after all earlier ones. A chore is called in the writer's thread."""
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()

    def close(self) -> bool:
        """Finish all jobs, then end the thread; return False if it has been closed already."""
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
            written = self._do(jobs)
            self._trimmer.step(written, time.monotonic() - began)
            while self._trimmer.busy and not self._jobs and not self._closing:
                self._trimmer.step()

    def _next_jobs(self) -> list[Job]:
        with self._changed:
            while not self._jobs and not self._closing and not self._trimmer.busy:
                self._changed.wait()
            jobs, self._jobs = self._jobs, []
        return jobs

    def _do(self, jobs: Sequence[Job]) -> int:
        """Do some jobs, and deliver the answers; return how many messages were written."""
        publishes = [job for job in jobs if isinstance(job, Publish)]
        written = self._write(publishes) if publishes else []
        outcomes = iter(written)
        answers: list[Answer] = []
        for job in jobs:
            if isinstance(job, Publish):
                answers.append((job, next(outcomes)))
            elif isinstance(job, Marker):
                answers.append(job)
            else:
                _do_chore(job)
        if answers:
            self._answer(answers)
        return sum(len(outcome.events) for some in written for outcome in accepted(some))

    def _write(self, publishes: Sequence[Publish]) -> Sequence[Sequence[Outcome]]:
        """Write all publishes, or none."""
        try:
            outcomes = self._commit(publishes)
        except Exception as error:  # this thread must survive any error, or no publish would be answered any more
            if not isinstance(error, sqlite3.Error | FileGone):
                logger.exception("writing to the store failed")
            reason = unavailable(error)
            if self._failing != reason.reason:
                self._failing = reason.reason
                logger.error("%s", reason.reason)
            return [[Refused(publish.entries, reason)] for publish in publishes]
        if self._failing:
            logger.info("the store can be written again")
            self._failing = ""
        return outcomes

    def _commit(self, publishes: Sequence[Publish]) -> Sequence[Sequence[Outcome]]:
        """Write all publishes in one transaction."""
        with self._file.transaction() as connection:
            insertion = tables.Insertion(connection, self._retention, self._file.line)
            outcomes = [insertion.place(publish) for publish in publishes]
            insertion.finish()
            spare = _SPARE_ROWS + sum(len(publish.entries) for publish in publishes)
            trimmed: dict[StoredOrder, int] = {}
            for order, row in insertion.rows.items():
                oldest = order.oldest
                if oldest > order.trimmed + 1 and tables.delete_before(connection, row, oldest, spare) < spare:
                    trimmed[order] = oldest - 1
        for order, row in insertion.rows.items():
            order.row = row
            order.written = insertion.heads.get(order, order.written)
            order.trimmed = trimmed.get(order, order.trimmed)
        return outcomes


def _do_chore(chore: Chore) -> None:
    try:
        chore()
    except Exception:
        logger.exception("the maintenance of the store failed")
