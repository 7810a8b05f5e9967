"""Runs one schedule: servers, clients and faults, then peace; and sees that all come to rest."""

from __future__ import annotations

from functools import partial

from bcast_grpc.broker.nats.log.limits import Limits
from bcast_grpc.broker.nats.log.record import decode
from bcast_grpc.events import Author, Entry, ResumePoint
from tests.simulator.agenda import MS, SECOND, Agenda
from tests.simulator.checker import Checker, Violation, texts
from tests.simulator.node import Node
from tests.simulator.old import AGE_NS, old_records
from tests.simulator.plan import NEAR, PARTITIONS, Fault, Plan
from tests.simulator.replicas import Stored
from tests.simulator.stream import Stream

_PING_NS = 3 * SECOND
_PATIENCE_NS = 40 * SECOND
_LATEST_NS = 4500 * MS
"""When the last append is there that a fault has delayed."""


class World:
    """One schedule.

    Attributes:
        plan: what is to happen.
        records: how many records came into the log.
        told: how many messages were told, over all servers.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.records = 0
        self._agenda = Agenda(plan.seed)
        self._stream = Stream(self._agenda, plan)
        self._stream.on_commit = self._commit
        self._checker = Checker(self._stream, plan.loses)
        self._stream.on_trim = self._checker.trimmed
        self._waits_for_epoch = False
        self._calm = False  # no faults come any more
        self._peace = False  # and those that were are over
        anchor_s = plan.max_age_ms / 2000 if plan.max_age_ms else 1800.0
        limits = Limits(
            record_items=8, tail_records=12, tail_items=40, anchor_s=anchor_s, ahead_records=4, history_items=10
        )
        if not plan.asks:
            limits.claims_s = 0
        for data in old_records(min(plan.past, plan.keep or plan.past), self._agenda.random):
            self._stream.keep_old(data, AGE_NS)
        self._nodes = [
            Node(index, self._agenda, self._stream, self._checker, limits, plan) for index in range(plan.servers)
        ]
        for node in self._nodes:
            node.others = self._nodes
            node.may_connect = partial(self._may_connect, node)
            node.on_answers = self._answers
        self._wanted = self._plan_messages()
        for _ in range(plan.servers):
            self._agenda.at(SECOND + self._agenda.ms(0, plan.spread_ms + 1000), self._move)
        for fault in plan.faults:
            self._agenda.at(SECOND + fault.at_ms * MS, partial(self._strike, fault))

    def run(self) -> None:
        """Run the schedule.

        Raises:
            Violation: a promise was broken.
        """
        agenda = self._agenda
        agenda.run(SECOND + (self.plan.spread_ms + 600) * MS)
        self._make_peace()
        late_ns = agenda.now_ns + _LATEST_NS
        agenda.run(agenda.now_ns + SECOND)
        if not self.plan.ends_quietly:
            self._last_words("one")
        self._rest(late_ns)
        if not self.plan.ends_quietly:
            self._last_words("two")
        self._rest(agenda.now_ns + 200 * MS)
        self._check_end()

    # --- clients

    def _plan_messages(self) -> set[str]:
        random, agenda, plan = self._agenda.random, self._agenda, self.plan
        wanted = set()
        authors = [Author(f"session{n}", "", f"key{n}") for n in range(3)]
        burst = agenda.ms(0, plan.spread_ms)
        for number in range(plan.messages):
            if random.random() < 0.3:
                burst = agenda.ms(0, plan.spread_ms)
            text = f"m{number}"
            id_ = f"id{number}" if random.random() < 0.7 else ""
            entry = Entry(random.choice(authors), text, b"", id_)
            at_ns = SECOND + burst + agenda.ms(0, 20)
            agenda.at(at_ns, partial(self._say, entry, random.randrange(plan.servers)))
            if id_:
                wanted.add(text)
                while random.random() < 0.2:  # sent again, though the first may yet be answered
                    again_ns = at_ns + int(MS * 3000 ** random.random()) - MS
                    agenda.at(again_ns, partial(self._say, entry, random.randrange(plan.servers)))
        return wanted

    def _say(self, entry: Entry, server: int) -> None:
        node = self._nodes[server]
        again = Entry(*entry)  # each try is another entry
        if node.log is not None:
            node.submit([again])
        elif entry.id:
            self._retry(entry)

    def _retry(self, entry: Entry) -> None:
        agenda = self._agenda
        agenda.after(agenda.ms(20, 500), lambda: self._say(entry, agenda.random.randrange(self.plan.servers)))

    def _move(self) -> None:
        """A client goes from one server to another."""
        here, there = self._agenda.random.sample(self._nodes, 2)
        if there.log is not None and here.listening.epoch:
            there.welcome(ResumePoint(here.listening.epoch, here.listening.head))

    def _answers(self, node: Node) -> None:
        listening = node.listening
        given_up, listening.given_up = listening.given_up, []
        listening.acked.clear()
        for entry in given_up:
            if self._peace:
                raise Violation(f"{entry.message} is refused, though all is well")
            if entry.id:
                self._retry(entry)

    def _last_words(self, word: str) -> None:
        for node in self._nodes:
            text = f"{word} of {node.index}"
            self._wanted.add(text)
            node.submit([Entry(Author("s", "", "k"), text, b"", text)])

    # --- faults

    def _strike(self, fault: Fault) -> None:
        agenda, node, ns = self._agenda, self._nodes[fault.server % self.plan.servers], fault.length_ms * MS
        until_ns = agenda.now_ns + ns
        if self._calm:
            return
        if self._waits_for_epoch:
            return  # else those who know what was lost might be gone
        if fault.kind == "freeze":
            node.freeze(ns)
        elif fault.kind == "crash":
            self._crash(node, ns)
        elif fault.kind == "break":
            node.disconnect()
            node.connect_after(ns // 10)
        elif fault.kind == "cut":
            node.deaf_until_ns = until_ns
            if ns > _PING_NS // 8:  # a shorter one is not noticed
                agenda.after(min(ns, _PING_NS), node.disconnect)
                node.connect_after(ns + agenda.ms(0, 100))
        elif fault.kind == "lose-live":
            node.losing_live_ns = until_ns
        elif fault.kind == "slow-live":
            node.slow_live_ns = until_ns
        elif fault.kind == "lose-answers":
            node.losing_answers_ns = until_ns
        elif fault.kind == "lose-forwards":
            for one in self._nodes:
                one.losing_forwards_ns = until_ns
        else:
            self._strike_stream(fault.kind, ns)

    def _strike_stream(self, kind: str, ns: int) -> None:
        stream, until_ns = self._stream, self._agenda.now_ns + ns
        if kind == "late-appends":
            stream.late_until_ns = until_ns
        elif kind == "lag":
            stream.lag_until_ns = until_ns
        elif kind == "deposed":
            stream.depose(ns)
        elif kind == "stopped":
            stream.stopped_until_ns = until_ns
        elif kind in PARTITIONS:
            self._part(kind, ns)
        elif kind == "flood":
            for _ in range(4):
                self._agenda.after(self._agenda.ms(0, ns / MS), partial(stream.flood, self.plan.max_bytes // 3))
        elif kind == "purge":
            stream.purge(0)
        elif kind == "purge-keep":
            stream.purge(1)
        else:
            self._roll_back(ns, near=kind == NEAR)

    def _part(self, kind: str, ns: int) -> None:
        """Part a NATS server from the others. Who is connected to one that does not run finds another."""
        stream = self._stream
        stream.cut_off(leader=kind.startswith("leader"), down=kind.endswith("down"))
        self._agenda.after(ns, stream.heal)
        if stream.replicas.is_down:
            for node in self._nodes:
                if node.link and node.link.nats == stream.replicas.cut:
                    node.disconnect()
                    node.connect_after(self._agenda.ms(5, 300))

    def _crash(self, node: Node, ns: int) -> None:
        if node.log is None:
            return
        for entry in node.crash():
            if entry.id:
                self._retry(entry)
        self._agenda.after(ns, node.start)

    def _roll_back(self, ns: int, *, near: bool) -> None:
        """Put the log back. Those who told what is lost are near, or come back first, or neither."""
        lost = self._stream.roll_back(ns)
        places = {
            (record.epoch, seq, item.entry.message)
            for stored in lost
            for record in [decode(stored.data)]
            for seq, item in enumerate(record.items, record.first)
        }
        told = {node.index for node in self._nodes if node.log and self._knows(node, places)}
        self._waits_for_epoch = bool(told) and not self.plan.splits and not near
        self._knowing = told
        if not told or self.plan.splits:
            for place in places:
                self._checker.forget(*place)
        for node in self._nodes:
            node.forget_inbox()
            node.disconnect()
            node.connect_after(self._agenda.ms(5, 300))

    def _knows(self, node: Node, places: set[tuple[str, int, str]]) -> bool:
        listening = node.listening
        return any(epoch == listening.epoch and seq <= listening.head for epoch, seq, _ in places)

    def _may_connect(self, node: Node) -> bool:
        return not self._waits_for_epoch or node.index in self._knowing

    def _commit(self, stored: Stored) -> None:
        self.records += 1
        self._checker.commit(stored)
        if self._waits_for_epoch and not decode(stored.data).first:
            self._waits_for_epoch = False

    # --- the end

    def _make_peace(self) -> None:
        now_ns, stream = self._agenda.now_ns, self._stream
        self._calm = True
        stream.late_until_ns = stream.lag_until_ns = stream.deposed_until_ns = stream.stopped_until_ns = now_ns
        self._agenda.after(15 * SECOND, self._begin_peace)
        stream.heal()
        for node in self._nodes:
            node.losing_live_ns = node.slow_live_ns = node.losing_answers_ns = node.losing_forwards_ns = now_ns
            node.thaw_now()
            node.start()
            if node.deaf_until_ns > now_ns:
                node.deaf_until_ns = now_ns
                node.disconnect()
            node.connect_after(0)

    def _begin_peace(self) -> None:
        self._peace = True

    def _rest(self, least_ns: int) -> None:
        agenda = self._agenda
        until_ns = agenda.now_ns + _PATIENCE_NS
        agenda.run(least_ns)
        while not self._resting:
            if agenda.now_ns > until_ns:
                raise Violation(self._unrest())
            agenda.run(agenda.now_ns + 100 * MS)

    @property
    def _resting(self) -> bool:
        first = self._nodes[0].listening
        return (
            all(node.settled for node in self._nodes)
            and all((node.listening.epoch, node.listening.head) == (first.epoch, first.head) for node in self._nodes)
            and self._checker.acked >= self._wanted
        )

    def _unrest(self) -> str:
        missing = sorted(self._wanted - self._checker.acked)
        states = [
            f"{node.name}: {node.log and node.log.level}, {node.listening.epoch}:{node.listening.head},"
            f" owes {texts(list(node.listening.owed))}"
            for node in self._nodes
        ]
        return f"somebody waits for ever: {'; '.join(states)}; never acknowledged: {', '.join(missing[:5]) or 'none'}"

    def _check_end(self) -> None:
        head = self._checker.head
        told = self._nodes[0].listening.epoch, self._nodes[0].listening.head
        if head is not None and head != told:
            raise Violation(f"the log ends at {head}, and all servers are at {told}")
        places: dict[int, str] = {}
        for node in self._nodes:
            for seq, text in node.listening.history.items():
                if (other := places.setdefault(seq, text)) != text:
                    raise Violation(f"{node.name} is on another past: {text} at {seq}, where others told {other}")
