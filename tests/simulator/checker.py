"""The promises, against everything that every server tells its clients, and against the log."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from bcast_grpc.broker.base import Accepted, Refused, Repeated
from bcast_grpc.broker.nats.log.actions import Began, Placed, Stopped
from bcast_grpc.broker.nats.log.record import decode
from bcast_grpc.events import Entry
from tests.simulator.replicas import Stored
from tests.simulator.stream import Stream


class Violation(AssertionError):
    """A promise was broken."""


class Checker:
    """What all servers together have told.

    Messages are known by their texts: a retry has the text of the first try, and no two messages the same.
    """

    def __init__(self, stream: Stream, loses: bool) -> None:
        self.acked: set[str] = set()
        self._stream = stream
        self._loses = loses
        self._places: dict[tuple[str, int], str] = {}  # what was told where
        self._where: dict[tuple[str, str], int] = {}  # and the other way round
        self._logged: set[tuple[str, int, str]] = set()
        self._records: set[Placed] = set()
        self._trimmed: set[tuple[str, str]] = set()
        self._epochs = 0
        self._end = ("", 0, "")  # epoch, head and last record of the log, if nothing is lost
        self._uids: dict[str, int] = {}

    # --- the log

    def commit(self, stored: Stored) -> None:
        """Look at a record that has come into the log."""
        record = decode(stored.data)
        if not record.first:
            self._epochs += 1
            if self._epochs > 1 + self._stream.losses:
                raise Violation(f"needless epoch {record.epoch}")
        self._records.add(Placed(record.first, stored.sequence, record.id))
        for seq, item in enumerate(record.items, record.first):
            self._logged.add((record.epoch, seq, item.entry.message))
        if not self._loses:
            self._follow(stored)

    def _follow(self, stored: Stored) -> None:
        record = decode(stored.data)
        if record.first and (record.epoch, record.first - 1, record.previous) != self._end:
            raise Violation(f"a void record {record.id} at {stored.sequence}, though nothing was lost")
        self._end = record.epoch, max(record.first - 1, 0) + len(record.items), record.id
        for seq, item in enumerate(record.items, record.first):
            self._once(record.epoch, seq, item.entry.message)
            server, _, number = item.uid.rpartition("-")
            if int(number, 16) <= self._uids.get(server, -1):
                raise Violation(f"{item.uid} of {server} comes after a later one")
            self._uids[server] = int(number, 16)

    # --- what is told

    def tell(self, epoch: str, seq: int, text: str) -> None:
        """A server tells a message."""
        if (epoch, seq, text) not in self._logged:
            raise Violation(f"{text} told at {epoch}:{seq}, where the log never had it")
        self._once(epoch, seq, text)

    def place(self, placed: Placed) -> None:
        """A server notes where the log has messages."""
        if placed not in self._records:
            raise Violation(f"the log never had {placed}")

    def forget(self, epoch: str, seq: int, text: str) -> None:
        """The log lost a message, and nobody who is left has told it."""
        if self._places.get((epoch, seq)) == text:
            del self._places[epoch, seq]
            del self._where[epoch, text]

    def trimmed(self, stored: Stored) -> None:
        """The log no longer has a record: who has not read it does not know the ids in it."""
        record = decode(stored.data)
        self._trimmed.update((record.epoch, item.entry.message) for item in record.items)

    def _once(self, epoch: str, seq: int, text: str) -> None:
        if (other := self._places.setdefault((epoch, seq), text)) != text:
            raise Violation(f"{text} at {epoch}:{seq}, where {other} is")
        elsewhere = self._where.setdefault((epoch, text), seq)
        if elsewhere != seq and (epoch, text) not in self._trimmed:
            raise Violation(f"{text} at {epoch}:{seq} and at {elsewhere}")

    @property
    def head(self) -> tuple[str, int] | None:
        """Where the order is, if nothing is lost."""
        return None if self._loses else self._end[:2]


class Listening:
    """What one incarnation of a server tells its clients, and what it owes them."""

    def __init__(self, name: str, checker: Checker, loses: bool) -> None:
        self.epoch = ""
        self.head = 0
        self.owed: deque[Entry] = deque()
        self.given_up: list[Entry] = []
        self.acked: list[Entry] = []
        self.history: dict[int, str] = {}  # what was told in this epoch
        self._left: set[str] = set()
        self._name = name
        self._checker = checker
        self._loses = loses
        self._told = False
        self._placed = 0

    def take(self, outcome: object) -> None:
        """Take something that is told."""
        if isinstance(outcome, Began):
            self._begin(outcome)
        elif isinstance(outcome, Placed):
            self._checker.place(outcome)
            self._placed = outcome.first
        elif isinstance(outcome, Accepted):
            self._accepted(outcome)
        elif isinstance(outcome, Repeated):
            for entry, place in zip(outcome.entries, outcome.places, strict=True):
                self._answer(entry)
                self._ack(place.seq, entry)
        elif isinstance(outcome, Refused):
            for entry in outcome.entries:
                self._answer(entry)
                self.given_up.append(entry)
        elif isinstance(outcome, Stopped):
            raise Violation(f"{self._name} stopped: {outcome.reason}")
        else:
            raise Violation(f"{self._name}: what is {outcome}?")

    def _begin(self, began: Began) -> None:
        if began.epoch == self.epoch and self._told and (began.after <= self.head or not self._loses):
            raise Violation(f"{self._name} told {began.epoch}:{self.head}, and begins it again after {began.after}")
        if began.epoch != self.epoch and began.after and self._told:
            self._need_losses(began)
        if began.epoch in self._left:
            raise Violation(f"{self._name} goes back to {began.epoch}")
        if began.epoch != self.epoch:
            self._left.add(self.epoch)
            self.history = {}
        self.epoch, self.head = began

    def _need_losses(self, began: Began) -> None:
        if not self._loses:
            raise Violation(f"{self._name} begins {began.epoch} after {began.after}, though nothing was lost")

    def _accepted(self, outcome: Accepted) -> None:
        if outcome.events[0].seq != self._placed:
            raise Violation(f"{self._name} tells {outcome.events[0].seq}, and noted {self._placed}")
        if outcome.events[0].seq != self.head + 1:
            raise Violation(f"{self._name} tells {outcome.events[0].seq} after {self.epoch}:{self.head}")
        self._told = True
        for entry, event in zip(outcome.entries, outcome.events, strict=True):
            self.head += 1
            if event.seq != self.head:
                raise Violation(f"{self._name} tells {event.seq} in the place of {self.head}")
            self._checker.tell(self.epoch, event.seq, event.message)
            self.history[event.seq] = event.message
            if entry:
                self._answer(entry)
                if entry.message != event.message:
                    raise Violation(f"{self._name}: {event.message} is told as {entry.message}")
                self._ack(event.seq, entry)

    def _ack(self, seq: int, entry: Entry) -> None:
        if (other := self.history.get(seq)) != entry.message:
            raise Violation(f"{self._name} acknowledges {entry.message} at {self.epoch}:{seq}, where it told {other}")
        self._checker.acked.add(entry.message)
        self.acked.append(entry)

    def _answer(self, entry: Entry) -> None:
        if not self.owed or self.owed[0] is not entry:
            raise Violation(f"{self._name} answers {entry.message} out of turn; owed: {texts(list(self.owed)[:5])}")
        self.owed.popleft()


def texts(entries: Sequence[Entry]) -> str:
    """Name some messages."""
    return ", ".join(entry.message for entry in entries) or "none"
