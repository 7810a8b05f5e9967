"""The clients of the other servers, as far as those have said."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence

from bcast_grpc.core.presence import Present
from bcast_grpc.log.v1 import peers_pb2 as pb
from bcast_grpc.presence.departures import Departure, Departures
from bcast_grpc.presence.messages import MAX_ID, decode, size_of
from bcast_grpc.presence.rooms import Rooms
from bcast_grpc.presence.stamps import Stamps
from bcast_grpc.presence.view import View

logger = logging.getLogger(__name__)

AGAIN_S = 0.5
"""After so long without an answer a list is asked for again."""

_ROOMS_AT_ONCE = 1024
_MAX_BYTES = 128 * 1024 * 1024


class _Server:
    """What is known of another server.

    Attributes:
        seen: how many notices it has sent, as far as this server knows; None if it has said nothing of that.
        views: what it has said of the rooms that are open here.
        stale: the rooms of which a list is needed.
    """

    __slots__ = ("seen", "stale", "views")

    def __init__(self) -> None:
        self.seen: int | None = None
        self.views: dict[str, View] = {}
        self.stale: dict[str, None] = {}

    def watch(self, room: str) -> None:
        self.views[room] = View(self.seen or 0)
        self.stale[room] = None


class Others:
    """The clients of the other servers in the rooms that are open here. It does no I/O.

    Args:
        rooms: those that are open here.
        stamps: hears the others' stamps.
        departures: tells of those who have left.
        ask: asks a server for the lists of some rooms.
        time: returns seconds that never go back.
    """

    def __init__(
        self,
        rooms: Rooms,
        stamps: Stamps,
        departures: Departures,
        ask: Callable[[str, Sequence[str]], None],
        time: Callable[[], float],
    ) -> None:
        self._rooms = rooms
        self._stamps = stamps
        self._departures = departures
        self._ask = ask
        self._time = time
        self._servers: dict[str, _Server] = {}
        self._bytes = 0
        self._full = False

    def open(self, room: str) -> None:
        """Learn who is in a room, whose roll is there."""
        for name, server in self._servers.items():
            if room not in server.views:
                server.watch(room)
                self._ask_for(name, server, [room])

    def close(self, room: str) -> None:
        """Forget a room."""
        for server in self._servers.values():
            server.stale.pop(room, None)
            if view := server.views.pop(room, None):
                self._bytes -= view.parts_bytes + sum(map(size_of, view.presents.values()))
        self._departures.close(room)

    def knows(self, room: str, servers: Collection[str]) -> bool:
        """Whether all of these servers have said who is in a room."""
        there = [server.views.get(room) for name in servers if (server := self._servers.get(name))]
        return len(there) == len(servers) and all(view and view.fresh for view in there)

    # --- what they say

    def heard(self, message: pb.PeerMessage) -> None:
        """Take what another server says."""
        name = message.server
        server = self._servers.get(name) or self._meet(name)
        if message.HasField("notice"):
            self._take_notice(name, server, message.notice)
        elif message.HasField("lists"):
            for one in message.lists.lists:
                self._take_list(name, server, one)

    def _meet(self, name: str) -> _Server:
        server = self._servers[name] = _Server()
        for room in self._rooms.rolls:
            server.watch(room)
        self._ask_for(name, server, list(server.stale)[:_ROOMS_AT_ONCE])
        return server

    def _take_notice(self, name: str, server: _Server, notice: pb.Notice) -> None:
        self._stamps.hear(notice.clock)
        if not notice.changes:
            self._reach(server, notice.number)
        elif notice.number > (server.seen or 0):
            self._reach(server, notice.number - 1)
            server.seen = notice.number
            for change in notice.changes:
                self._apply(name, server, notice.number, change)

    def _reach(self, server: _Server, number: int) -> None:
        """Note that so many notices were sent. Those that have not come yet may be lost."""
        if server.seen is not None and number <= server.seen:
            return
        server.seen = number
        for room, view in server.views.items():
            view.lack(number)
            if not view.fresh:
                server.stale[room] = None

    def _apply(self, name: str, server: _Server, number: int, change: pb.Change) -> None:
        room = change.room
        view = server.views.get(room)
        if view is None or view.knows(number):
            return
        if change.HasField("came"):
            if present := self._read(change.came):
                view.note(present.author.session, number)
                self._arrive(name, room, view, present)
        elif len((left := change.left).session) <= MAX_ID:
            view.note(left.session, number)
            if gone := view.presents.get(left.session):
                self._depart(name, room, view, gone, left, replaced=left.replaced)

    def _take_list(self, name: str, server: _Server, listed: pb.List) -> None:
        self._stamps.hear(listed.clock)
        view = server.views.get(listed.room)
        if view is None:
            return
        presents = [present for one in listed.presents if (present := self._read(one))]
        self._bytes -= view.parts_bytes
        difference = view.take(listed.number, listed.part, presents, more=listed.more)
        self._bytes += view.parts_bytes
        if view.parts_bytes and self._is_full():
            self._bytes -= view.parts_bytes
            view.drop_parts()
        if difference is None:
            return
        server.stale.pop(listed.room, None)
        for present in difference.left:
            self._depart(name, listed.room, view, present, listed)
        for present in difference.came:
            self._arrive(name, listed.room, view, present)

    def _read(self, one: pb.Present) -> Present | None:
        """Return a client that another server tells of; None if that cannot be one."""
        return decode(one) if self._stamps.believes(one.asked) else None

    # --- what follows

    def _arrive(self, name: str, room: str, view: View, present: Present) -> None:
        before = view.presents.get(present.author.session)
        roll = self._rooms.rolls[room]
        if before:
            self._bytes -= size_of(before)
            if (before.author.key, before.reader) != (present.author.key, present.reader):
                self._rooms.tell(room, roll.drop(name, before))
        elif self._is_full():
            return
        self._departures.hurry(room, present.author.name)
        self._bytes += size_of(present)
        view.presents[present.author.session] = present
        self._rooms.tell(room, roll.put(name, present))

    def _is_full(self) -> bool:
        if self._bytes < _MAX_BYTES:
            self._full = False
            return False
        if not self._full:
            logger.warning("other servers have more clients than this one can list: some are missing in its lists")
        self._full = True
        return True

    def _depart(
        self,
        name: str,
        room: str,
        view: View,
        present: Present,
        said: pb.Departed | pb.List,
        *,
        replaced: bool = False,
    ) -> None:
        del view.presents[present.author.session]
        self._bytes -= size_of(present)
        epoch = said.epoch if len(said.epoch) <= MAX_ID else ""
        self._departures.add(Departure(name, room, present, epoch, said.seq, replaced))

    def gone(self, name: str) -> None:
        """Note that a server has ended: its clients have left."""
        server = self._servers.pop(name, None)
        if server is None:
            return
        self._departures.gone(name)
        for room, view in server.views.items():
            self._bytes -= view.parts_bytes
            for present in view.presents.values():
                self._bytes -= size_of(present)
                self._rooms.tell(room, self._rooms.rolls[room].drop(name, present))

    def tick(self, now_s: float) -> None:
        """Ask again for what has not been answered."""
        for name, server in self._servers.items():
            if server.stale:
                due = [room for room in server.stale if now_s - server.views[room].asked_s >= AGAIN_S]
                self._ask_for(name, server, due[:_ROOMS_AT_ONCE])

    def _ask_for(self, name: str, server: _Server, rooms: Sequence[str]) -> None:
        for room in rooms:
            server.views[room].asked_s = self._time()
        if rooms:
            self._ask(name, rooms)
