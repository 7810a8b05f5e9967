"""Reads rooms from the file, each once for all callers that open it at the same time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial

from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.sqlite import tables
from bcast_grpc.broker.sqlite.faults import unavailable
from bcast_grpc.broker.sqlite.readers import Readers
from bcast_grpc.broker.sqlite.timeline import TimeLine


class Openings:
    """Rooms that are being read by other threads.

    Args:
        readers: the threads.
        retention: how much is kept of a room.
        line: the store's time line.
        keep: called once for each room that was read, with its name and what the file has of it.
    """

    def __init__(
        self, readers: Readers, retention: Retention, line: TimeLine, keep: Callable[[str, tables.Stored | None], None]
    ) -> None:
        self._readers = readers
        self._retention = retention
        self._line = line
        self._keep = keep
        self._reading: dict[str, asyncio.Future[tables.Stored | None]] = {}

    def __len__(self) -> int:
        return len(self._reading)

    async def read(self, room: str) -> None:
        """Wait until a room has been read and passed to ``keep``.

        Raises:
            CallError: ``BROKER_UNAVAILABLE``: the file cannot be read.
        """
        reading = self._reading.get(room) or self._begin(room)
        try:
            await asyncio.shield(reading)
        except sqlite3.Error as error:
            raise unavailable(error) from None
        except asyncio.CancelledError:
            if not reading.cancelled():
                raise  # the caller was cancelled; others may wait for the same room
            raise unavailable(sqlite3.OperationalError("the store is being closed")) from None
        finally:
            self._end(room, reading)

    def _begin(self, room: str) -> asyncio.Future[tables.Stored | None]:
        reading = self._readers.read(tables.load, room, self._retention, self._line, self._readers.pause)
        self._reading[room] = reading
        reading.add_done_callback(partial(self._end, room))
        return reading

    def _end(self, room: str, reading: asyncio.Future[tables.Stored | None]) -> None:
        """Keep what was read. Called once by the reading itself and once by each caller; the first call counts."""
        if not reading.done() or self._reading.get(room) is not reading:
            return
        del self._reading[room]
        if not reading.cancelled() and not reading.exception():
            self._keep(room, reading.result())
