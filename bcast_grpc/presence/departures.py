"""Clients that have left another server, and are still listed: something is to come before they are told to be gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bcast_grpc.core.presence import Present
from bcast_grpc.presence.rooms import Rooms

LATE_S = 2.0
"""A departure is told at the latest after so long, whether the leaver's last message has come or not."""

LOOK_S = 0.01
"""How often it is looked whether a room's order has come to where a departure is told."""


class Departure(NamedTuple):
    """A client that has left.

    Attributes:
        server: where it was.
        room: which room.
        present: the client.
        epoch: of its last message.
        seq: of its last message, which is to come first.
        replaced: whether who replaces it is to come first instead.
    """

    server: str
    room: str
    present: Present
    epoch: str
    seq: int
    replaced: bool


class _Due(NamedTuple):
    departure: Departure
    until_s: float


class Departures:
    """Tells of departures, each when the room has come to its place, and none later than after two seconds.

    Args:
        rooms: those that are open here.
        later: calls back after so many seconds.
        time: returns seconds that never go back.
    """

    def __init__(
        self, rooms: Rooms, later: Callable[[float, Callable[[], None]], object], time: Callable[[], float]
    ) -> None:
        self._rooms = rooms
        self._later = later
        self._time = time
        self._waiting: dict[tuple[str, str], list[_Due]] = {}  # by room and name
        self._looking = False

    def add(self, departure: Departure) -> None:
        """Tell of a departure, now or later."""
        if not self._waits(departure):
            self._tell(departure)
            return
        due = _Due(departure, self._time() + LATE_S)
        self._waiting.setdefault((departure.room, departure.present.author.name), []).append(due)
        self._look_later()

    def close(self, room: str) -> None:
        """Forget a room."""
        for key in [key for key in self._waiting if key[0] == room]:
            del self._waiting[key]

    def hurry(self, room: str, name: str) -> None:
        """Tell now of those who have left a room and had a name that somebody has who comes."""
        for one in self._waiting.pop((room, name), ()) if self._waiting else ():
            if one.departure.replaced:
                self._waiting.setdefault((room, name), []).append(one)
            else:
                self._tell(one.departure)

    def gone(self, server: str) -> None:
        """Tell now of those who have left a server that has ended."""
        self._tell_those(lambda one: one.departure.server == server)

    def _look_later(self) -> None:
        if self._waiting and not self._looking:
            self._looking = True
            self._later(LOOK_S, self._look)

    def _look(self) -> None:
        self._looking = False
        now_s = self._time()
        self._tell_those(lambda one: now_s >= one.until_s or not self._waits(one.departure))
        self._look_later()

    def _tell_those(self, true: Callable[[_Due], bool]) -> None:
        """Tell of those departures for which something is true."""
        due = [one for those in self._waiting.values() for one in those if true(one)]
        for one in due:
            key = (one.departure.room, one.departure.present.author.name)
            self._waiting[key].remove(one)
            if not self._waiting[key]:
                del self._waiting[key]
        for one in due:
            self._tell(one.departure)

    def _waits(self, one: Departure) -> bool:
        if one.replaced:
            return self._rooms.rolls[one.room].lists(one.server, one.present)
        return not self._rooms.has_reached(one.room, one.epoch, one.seq)

    def _tell(self, one: Departure) -> None:
        self._rooms.tell(one.room, self._rooms.rolls[one.room].drop(one.server, one.present))
