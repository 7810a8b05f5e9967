"""Who waits until a log leads to a place that another server told a client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bcast_grpc.broker.nats.log.actions import Action
from bcast_grpc.broker.nats.log.room_log import RoomLog
from bcast_grpc.events import ResumePoint


@dataclass(slots=True, eq=False)
class Seek:
    """A place that is sought.

    Attributes:
        found: called once the log leads to it, or surely does not.
        fence: once this server's record of that number is in the log, all that was there before has been read; None
            while the leader has not been asked for the end.
    """

    after: ResumePoint
    found: Callable[[], None]
    fence: int | None = None


class Seeks:
    """The places of a log that are sought.

    The leader is asked for the end first. But one that has just been replaced may not know it, and does not notice: so
    a place counts as missing only when a record has been appended since, and the log does not lead there even then.
    """

    __slots__ = ("_log", "_waiting")

    def __init__(self, log: RoomLog) -> None:
        self._log = log
        self._waiting: tuple[Seek, ...] = ()  # mostly none, and there is one of these for each room

    def leads_to(self, after: ResumePoint) -> bool:
        """Whether a place is in the log, as far as it was read here."""
        return after.epoch == self._log.epoch and after.seq <= self._log.head

    def add(self, seek: Seek) -> list[Action]:
        """Have a place sought."""
        self._waiting += (seek,)
        return self._log.check()

    def remove(self, seek: Seek) -> None:
        """Seek a place no more."""
        self._waiting = tuple(one for one in self._waiting if one is not seek)

    def look(self) -> list[Action]:
        """See what has been found, or is surely missing."""
        asked: list[Action] = []
        for seek in self._waiting:
            if self.leads_to(seek.after) or (seek.fence is not None and self._log.landed >= seek.fence):
                self.remove(seek)
                seek.found()
            elif seek.fence is None and self._log.level:
                seek.fence = self._log.next_record
                asked += self._log.fence()
        return asked

    def end(self) -> None:
        """Wait for nothing more."""
        waiting, self._waiting = self._waiting, ()
        for seek in waiting:
            seek.found()
