"""One server: the real ``RoomLog``, carried out over a connection that may break, in a process that may stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.ids import Ids
from bcast_grpc.broker.nats.log.actions import (
    Action,
    Append,
    AskHeads,
    Forward,
    Read,
    ReadAfter,
    ReadEnd,
    ReadSince,
    WakeAt,
)
from bcast_grpc.broker.nats.log.room_log import Incarnation, Limits, RoomLog
from bcast_grpc.broker.nats.log.seeks import Seek, Seeks
from bcast_grpc.events import Entry, ResumePoint
from tests.simulator.agenda import MS, Agenda, VirtualClock
from tests.simulator.checker import Checker, Listening, Violation
from tests.simulator.plan import Plan
from tests.simulator.stream import Stream


class Link:
    """One connection of a server, until it breaks. What a dead one brings is lost.

    Attributes:
        open: whether it has not broken.
        nats: the NATS server that it leads to.
    """

    def __init__(self, node: Node, nats: int) -> None:
        self.open = True
        self.nats = nats
        self._node = node
        self._heard_ns = 0

    def hear(self, sequence: int, previous: int, data: bytes) -> None:
        """Get a live record, after those before it."""
        node, agenda = self._node, self._node.agenda
        if agenda.now_ns < node.losing_live_ns and agenda.random.random() < 0.5:
            return
        slow = agenda.now_ns < node.slow_live_ns
        self._heard_ns = max(self._heard_ns, agenda.now_ns + agenda.ms(0.1, 800 if slow else 3))
        agenda.at(self._heard_ns, lambda: self.arrive(lambda log: log.live(sequence, previous, data)))

    def answer(self, call: Callable[[], object], delay_ns: int) -> None:
        """Get the answer to a request."""
        agenda = self._node.agenda
        if agenda.now_ns < self._node.losing_answers_ns and agenda.random.random() < 0.5:
            return
        agenda.after(delay_ns, lambda: self.arrive(lambda _: call()))

    def arrive(self, run: Callable[[RoomLog], object]) -> None:
        """Let something come in, if the connection is still there."""
        node = self._node
        if self.open and node.agenda.now_ns >= node.deaf_until_ns:
            node.do(run, from_network=True)


class Node:
    """A server.

    Attributes:
        listening: what its current incarnation tells.
        frozen_until_ns: until then the process does nothing.
        deaf_until_ns: until then nothing comes through its connection, in either direction.
    """

    def __init__(self, index: int, agenda: Agenda, stream: Stream, checker: Checker, limits: Limits, plan: Plan):
        self.index = index
        self.agenda = agenda
        self.frozen_until_ns = self.deaf_until_ns = 0
        self.losing_live_ns = self.slow_live_ns = self.losing_answers_ns = self.losing_forwards_ns = 0
        self.log: RoomLog | None = None
        self.link: Link | None = None
        self.others: Sequence[Node] = ()
        self.may_connect: Callable[[], bool] = lambda: True
        self.on_answers: Callable[[Node], None] = lambda _: None
        self.name = ""
        self.was_level = False
        self._stream = stream
        self._checker = checker
        self._limits = limits
        self._plan = plan
        self._starts = 0
        self._inbox: list[tuple[bool, Callable[[RoomLog], object]]] = []
        self._unread: list[Entry] = []  # what clients said and a frozen process has not read
        self._wake_ns = 0
        self._said: list[tuple[int, str]] = []
        self._unheard: set[Node] = set()  # the servers that have not answered what they told
        self.start()
        agenda.after(agenda.ms(0, 2000), self._beat)

    # --- the process

    def start(self) -> None:
        """Begin a new incarnation, which knows nothing."""
        if self.log is not None:
            return
        self._starts += 1
        self.name = f"s{self.index}i{self._starts}"
        random = Random(self.agenda.random.getrandbits(64))
        ids = Ids(Retention(dedup_s=120.0))
        clock = VirtualClock(self.agenda)
        self.listening = Listening(self.name, self._checker, self._plan.loses)
        self.log = RoomLog(Incarnation(self.name), ids, clock, random, self._limits)
        self._seeks = Seeks(self.log)
        self.connect_after(self.agenda.ms(0, 20))

    def crash(self) -> list[Entry]:
        """End the incarnation, and return what it owes."""
        self._close_link()
        self.log = None
        self._inbox.clear()
        self.frozen_until_ns = 0
        owed, self._unread = [*self.listening.owed, *self._unread], []
        self.listening.owed.clear()
        return owed

    def freeze(self, ns: int) -> None:
        """Stop the process for a while."""
        self.frozen_until_ns = max(self.frozen_until_ns, self.agenda.now_ns + ns)
        self.agenda.at(self.frozen_until_ns, self._thaw)

    def thaw_now(self) -> None:
        """Let the process go on."""
        if self.frozen_until_ns > self.agenda.now_ns:
            self.frozen_until_ns = self.agenda.now_ns
            self._thaw()

    def _thaw(self) -> None:
        if self.agenda.now_ns < self.frozen_until_ns or self.log is None:
            return
        if self.agenda.random.random() < 0.5:
            self.do(lambda log: log.tick())
        inbox, self._inbox = self._inbox, []
        for _, run in inbox:
            self.do(run)
        self.do(lambda log: log.tick())

    def do(self, run: Callable[[RoomLog], object], *, from_network: bool = False) -> None:
        """Give the log an input, now or when the process goes on."""
        log = self.log
        if log is None:
            return
        if self.agenda.now_ns < self.frozen_until_ns:
            self._inbox.append((from_network, run))
            return
        actions = run(log)
        assert isinstance(actions, list)
        self._carry_out(log, actions)

    def forget_inbox(self) -> None:
        """Lose what a frozen process has not read yet."""
        self._inbox = [one for one in self._inbox if not one[0]]

    def submit(self, entries: Sequence[Entry]) -> None:
        """Let clients say something."""

        def run(log: RoomLog) -> list[Action]:
            del self._unread[: len(entries)]
            self.listening.owed += entries
            return log.submit(entries)

        self._unread += entries
        self.do(run)

    def welcome(self, after: ResumePoint) -> None:
        """A client comes from another server, which told it a place. It waits until the log leads there."""
        seeks, name = self._seeks, self.name

        def found() -> None:
            if not self._plan.loses and not seeks.leads_to(after):
                raise Violation(f"{name} takes {after} for lost, though nothing was")

        if not seeks.leads_to(after):
            seek = Seek(after, found)
            self.do(lambda _: seeks.add(seek))

    @property
    def settled(self) -> bool:
        """Whether it is level and owes nothing."""
        return self.log is not None and self.log.level and not self.listening.owed and not self.log.unanswered

    # --- the connection

    def disconnect(self) -> None:
        """Break the connection."""
        if self.link:
            self._close_link()
            self.do(lambda log: log.disconnected())

    def connect_after(self, ns: int) -> None:
        """Have a connection again after a while, as soon as it may."""
        self.agenda.after(ns, self._connect)

    def _connect(self) -> None:
        if self.link or self.log is None:
            return
        if not self.may_connect() or self.agenda.now_ns < max(self.deaf_until_ns, self.frozen_until_ns):
            self.connect_after(50 * MS)
            return
        self.link = Link(self, self._stream.replicas.choose())
        self._stream.listeners.append(self.link)
        self.do(lambda log: log.connected())
        for other in self.others:
            if self in other._unheard:
                other._ask_head(self)

    def _close_link(self) -> None:
        if self.link:
            self.link.open = False
            self._stream.listeners.remove(self.link)
            self.link = None

    # --- what the log asks for

    def _carry_out(self, log: RoomLog, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Append | ReadAfter | ReadEnd | ReadSince | Forward):
                self._send(log, action)
            elif isinstance(action, AskHeads):
                self._ask_heads()
            elif isinstance(action, WakeAt):
                self._wake_ns = action.time_ns
                early_ns = self.agenda.random.choice((0, 0, MS // 2))
                self.agenda.at(action.time_ns - early_ns, partial(self._tick, log, action.time_ns))
            else:
                self.listening.take(action)
        self.was_level = self.was_level or log.level
        if self.listening.given_up or self.listening.acked:
            self.on_answers(self)
        if asked := self._seeks.look():
            self._carry_out(log, asked)

    def _tick(self, log: RoomLog, due_ns: int) -> None:
        if log is self.log and due_ns == self._wake_ns and self.agenda.now_ns >= self.frozen_until_ns:
            self.do(lambda log: log.tick())

    def _send(self, log: RoomLog, action: Append | Read | Forward) -> None:
        link = self.link
        if link is None or self.agenda.now_ns < self.deaf_until_ns:
            return
        if isinstance(action, Append):
            self._stream.append(link, action, log)
        elif isinstance(action, ReadAfter):
            if not action.sequence and self.listening.head and not self._plan.misleads:
                raise Violation(f"{self.name} reads all again, though nothing was lost")
            self._stream.read_after(link, action, log)
        elif isinstance(action, ReadEnd):
            self._stream.read_end(link, action, log)
        elif isinstance(action, ReadSince):
            self._stream.read_since(link, action, log)
        else:
            self._forward(action)

    def _forward(self, asked: Forward) -> None:
        agenda = self.agenda
        losing = agenda.now_ns < self.losing_forwards_ns
        for other in self._within_reach():
            if other.name == asked.writer and other.link and not (losing and agenda.random.random() < 0.5):
                delay = agenda.ms(1, 900) if losing else agenda.ms(0.2, 3)
                link, data = other.link, asked.data
                agenda.after(delay, partial(link.arrive, partial(_forwarded, data)))

    def _within_reach(self) -> list[Node]:
        """Return the servers to which NATS brings what this one sends."""
        reaches, link = self._stream.replicas.reaches, self.link
        return [one for one in self.others if link and one.link and reaches(link.nats, one.link.nats)]

    def _ask_heads(self) -> None:
        self._unheard = {other for other in self.others if other is not self and other.log}
        self.agenda.after(0, lambda: self._heard(None))
        for other in self._unheard:
            self._ask_head(other)

    def _ask_head(self, other: Node) -> None:
        agenda, link = self.agenda, self.link
        if link is None or other.link is None:
            return  # it is asked when it connects

        def answer(log: RoomLog) -> list[Action]:
            head = log.epoch, log.head
            agenda.after(agenda.ms(0.2, 3), lambda: link.arrive(lambda mine: mine.claimed(*head)))
            agenda.after(agenda.ms(3, 4), lambda: self._heard(other) if link.open else None)
            return []

        agenda.after(agenda.ms(0.2, 3), partial(other.link.arrive, answer))

    def _heard(self, other: Node | None) -> None:
        self._unheard.discard(other or self)
        if not self._unheard:
            self.do(lambda log: log.all_claimed())

    def _beat(self) -> None:
        """Say where the log is, if it moved within the last beats."""
        agenda, log = self.agenda, self.log
        agenda.after(agenda.ms(1900, 2100), self._beat)
        if log is None or not self.link or agenda.now_ns < max(self.deaf_until_ns, self.frozen_until_ns):
            return
        head = log.sequence, log.record
        if not log.level or self._said[-3:] == [head] * 3:
            return
        self._said = [*self._said[-2:], head]
        for other in self._within_reach():
            if other is not self and other.link:
                link = other.link
                agenda.after(agenda.ms(0.2, 3), partial(link.arrive, lambda log: log.head_of_other(*head)))


def _forwarded(data: bytes, log: RoomLog) -> list[Action]:
    return log.forwarded(data)
