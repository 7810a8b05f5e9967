"""What this server tells the others about its own clients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from bcast_grpc.core.presence import Present, Watcher
from bcast_grpc.log.v1 import peers_pb2 as pb
from bcast_grpc.presence.messages import encode, size_of
from bcast_grpc.presence.rooms import Rooms
from bcast_grpc.presence.stamps import Stamps

PART_BYTES = 256 * 1024
"""Most bytes of clients in one message."""

_LATE_S = 2.0
_CHANGE_BYTES = 128
_LIST_BYTES = 128
_ANSWERS_BYTES_PER_S = 16 * 1024 * 1024


class Say(Protocol):
    """Says something to all other servers, or to one."""

    def __call__(self, message: pb.PeerMessage, to: str = "") -> None:
        """Say it."""


class _Departing(NamedTuple):
    """A client that has left; the others are told when what it has sent is in the room's order."""

    room: str
    watcher: Watcher | None
    replaced: bool
    until_s: float


class Own:
    """The clients of this server, as the others are told of them. It does no I/O.

    Args:
        rooms: those that are open here.
        stamps: gives the greatest stamp.
        say: says something to the others.
        soon: calls back in the loop's next pass: what happens until then is said in one notice.
        time: returns seconds that never go back.
        max_bytes: returns how large a message may be.
    """

    def __init__(
        self,
        rooms: Rooms,
        stamps: Stamps,
        say: Say,
        soon: Callable[[Callable[[], None]], object],
        time: Callable[[], float],
        max_bytes: Callable[[], int],
    ) -> None:
        self._rooms = rooms
        self._stamps = stamps
        self._say = say
        self._soon = soon
        self._time = time
        self._max_bytes = max_bytes
        self._told: dict[str, dict[str, Present]] = {}  # as the others know them, or will with the next notice
        self._departing: dict[str, _Departing] = {}
        self._changes: list[pb.Change] = []
        self._bytes = 0
        self._number = 0
        self._answered_bytes = 0
        self._answers_since_s = 0.0

    def presents(self, room: str) -> list[Present]:
        """Return this server's clients in a room."""
        told = self._told.get(room, {})
        return [present for session, present in told.items() if session not in self._departing]

    def find(self, room: str, session: str) -> Present:
        """Return one of this server's clients."""
        return self._told[room][session]

    def put(self, room: str, present: Present) -> None:
        """Tell of a client that has come, or has another name."""
        self._told.setdefault(room, {})[present.author.session] = present
        self._add(pb.Change(room=room, came=encode(present)), size_of(present))

    def drop(self, room: str, session: str, *, replaced: bool) -> None:
        """Tell of a client that has left, once what it has sent is in the room's order."""
        watcher = self._rooms.watchers.get(room)
        self._departing[session] = _Departing(room, watcher, replaced, self._time() + _LATE_S)
        if watcher and not replaced:
            watcher.order.after_answers(partial(self._departed, session))
        else:
            self._departed(session)

    def _departed(self, session: str) -> None:
        departing = self._departing.pop(session, None)
        if departing is None:
            return
        room, watcher, replaced, _ = departing
        told = self._told[room]
        del told[session]
        if not told:
            del self._told[room]
        left = pb.Departed(session=session, replaced=replaced)
        if watcher:
            left.epoch, left.seq = watcher.order.epoch, watcher.order.head
        self._add(pb.Change(room=room, left=left), 0)

    def _add(self, change: pb.Change, size: int) -> None:
        if not self._changes:
            self._soon(self.flush)
        self._changes.append(change)
        self._bytes += size + 4 * len(change.room) + _CHANGE_BYTES
        if self._bytes > self._most_bytes:
            self.flush()

    @property
    def _most_bytes(self) -> int:
        return min(PART_BYTES, self._max_bytes()) // 2

    def flush(self) -> None:
        """Say what has changed."""
        if not self._changes:
            return
        self._number += 1
        changes, self._changes, self._bytes = self._changes, [], 0
        self._say(pb.PeerMessage(notice=pb.Notice(number=self._number, clock=self._stamps.last, changes=changes)))

    def beat(self) -> Iterator[pb.PeerMessage]:
        """Return how many notices were sent, so that a lost last one is noticed."""
        self.flush()
        yield pb.PeerMessage(notice=pb.Notice(number=self._number, clock=self._stamps.last))

    def tick(self, now_s: float) -> None:
        """Tell of those who have left, if the room's order does not answer for long."""
        while self._departing:
            session, departing = next(iter(self._departing.items()))
            if now_s < departing.until_s:
                return
            self._departed(session)

    def end(self) -> None:
        """Tell all that is still to be told."""
        for session in list(self._departing):
            self._departed(session)
        self.flush()

    # --- what others ask for

    def answer(self, asker: str, rooms: Iterable[str]) -> None:
        """Send a server the lists of some rooms. If that is too much just now, it will ask again."""
        self.flush()  # the lists know of all notices
        now_s = self._time()
        if now_s - self._answers_since_s >= 1:
            self._answers_since_s, self._answered_bytes = now_s, 0
        answer, size = pb.PeerMessage(), 0
        for room in rooms:
            if self._answered_bytes > _ANSWERS_BYTES_PER_S:
                break
            for part, bytes_ in self._parts(room):
                if size and size + bytes_ > min(PART_BYTES, self._max_bytes()):
                    self._say(answer, asker)
                    answer, size = pb.PeerMessage(), 0
                answer.lists.lists.append(part)
                size += bytes_
                self._answered_bytes += bytes_
        if size:
            self._say(answer, asker)

    def _parts(self, room: str) -> Iterator[tuple[pb.List, int]]:
        """Return a room's list in parts, with their sizes."""
        presents = list(self._told.get(room, {}).values())
        watcher = self._rooms.watchers.get(room)
        groups = list(_by_size(presents, self._most_bytes)) or [presents]
        for number, group in enumerate(groups):
            part = pb.List(
                room=room,
                number=self._number,
                clock=self._stamps.last,
                part=number,
                more=number < len(groups) - 1,
                presents=map(encode, group),
            )
            if watcher:
                part.epoch, part.seq = watcher.order.epoch, watcher.order.head
            yield part, sum(map(size_of, group)) + 4 * len(room) + _LIST_BYTES


def _by_size(presents: Sequence[Present], most_bytes: int) -> Iterator[list[Present]]:
    """Divide clients into groups of at most so many bytes."""
    group: list[Present] = []
    size = 0
    for present in presents:
        bytes_ = size_of(present)
        if group and size + bytes_ > most_bytes:
            yield group
            group, size = [], 0
        group.append(present)
        size += bytes_
    if group:
        yield group
