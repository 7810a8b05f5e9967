"""Further traps: of NATS servers that are parted from each other, and of a stream that is full.

Some are NATS's own, which breaks what it promises: the log cannot hold its promises then, and that must be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

from bcast_grpc.broker.nats.log.actions import Action, Append
from bcast_grpc.broker.nats.log.chain import Chain, Fit
from bcast_grpc.broker.nats.log.past import Past, Verdict
from bcast_grpc.broker.nats.log.reader import Reader
from bcast_grpc.broker.nats.log.record import Record
from bcast_grpc.broker.nats.log.room_log import RoomLog
from bcast_grpc.broker.nats.log.rumour import Rumour
from bcast_grpc.broker.nats.log.seeks import Seeks
from bcast_grpc.broker.nats.log.states import Reading, Writing
from bcast_grpc.broker.nats.log.writer import Writer
from tests.simulator.agenda import MS
from tests.simulator.bugs import bug
from tests.simulator.replicas import Leader, Stored
from tests.simulator.stream import Stream
from tests.simulator.wires import Appends, Listener


@bug("leader-alone", "break", replicas=3)
def a_leader_needs_no_proof() -> Iterator[None]:
    """A client's place is taken for lost when a leader does not have it, which may not know that it is none."""
    real = Seeks.look

    def look(self: Seeks) -> list[Action]:
        if self._log.level:
            for seek in self._waiting:
                self.remove(seek)
                seek.found()
        return real(self)

    with mock.patch.object(Seeks, "look", look):
        yield


@bug("leader-alone", "break", "deposed", replicas=3)
def an_epoch_begins_after_whatever_is_there() -> Iterator[None]:
    """A new epoch that was refused is appended after the record that was in its way, without reading that."""
    real = RoomLog.refused

    def refused(self: RoomLog, ticket: int, last: int | None) -> list[Action]:
        writer = self._writer
        flight = writer.answered(ticket)
        if flight and not flight.record.first and last:
            flight.expected = last
            writer._send(flight)
            return self._proceed()
        return real(self, ticket, last)

    with mock.patch.object(RoomLog, "refused", refused):
        yield


@bug("leader-alone", "follower-alone", replicas=3, spread_ms=300)
def heads_are_not_heard() -> Iterator[None]:
    """What other servers say of the log's end is ignored."""
    with mock.patch.object(Rumour, "hear"):
        yield


@bug("leader-alone", "follower-alone", "lose-forwards", replicas=3, messages=60, spread_ms=300)
def a_forward_is_waited_for() -> Iterator[None]:
    """What another server was asked to take along is never appended here."""
    real = Writer.ready

    def ready(self: Writer, chain: Chain, reading: Reading, now_ns: int) -> bool:
        if self.state is Writing.FORWARDED and self._forwarded in self.pending:
            return False
        return real(self, chain, reading, now_ns)

    with mock.patch.object(Writer, "ready", ready):
        yield


@bug("flood", "freeze", "cut", max_bytes=4000)
def what_is_gone_is_not_missed() -> Iterator[None]:
    """Where messages were trimmed before they were read, the next one is told as if it followed."""
    real = Past.judge

    def judge(self: Past, record: Record, fit: Fit, chain: Chain) -> Verdict:
        found = real(self, record, fit, chain)
        return Verdict.GOES_ON if found is Verdict.JUMPS else found

    with mock.patch.object(Past, "judge", judge):
        yield


@bug("flood", max_bytes=3000)
def an_emptied_log_goes_on() -> Iterator[None]:
    """Where all was trimmed, the leader's word that there is nothing is taken for agreement."""
    real = Reader.end

    def end(self: Reader, ticket: int, sequence: int, record: Record | None) -> None:
        if not sequence and self.chain.sequence:
            sequence, record = self.chain.sequence, None
        real(self, ticket, sequence, record)

    with mock.patch.object(Reader, "end", end):
        yield


@bug("leader-alone", replicas=3, spread_ms=300)
def nats_acknowledges_without_a_quorum() -> Iterator[None]:
    """A leader that is alone says that it has stored what it will lose."""

    def propose_alone(self: Stream, listener: Listener, asked: Append, answers: Appends) -> None:
        kept = self._has_alone()
        last = kept[-1].sequence if kept else 0
        if asked.expected == last and self.replicas.led(listener.nats) is Leader.ALONE:
            kept.append(Stored(last + 1, asked.data, self._agenda.now_ns))
            listener.answer(lambda: answers.stored(asked.ticket, last + 1), MS)

    with mock.patch.object(Stream, "_propose_alone", propose_alone):
        yield


@bug("leader-alone", replicas=3, spread_ms=300)
def nats_publishes_without_a_quorum() -> Iterator[None]:
    """A leader that is alone brings what it will lose to those who are connected to it."""
    real = Stream._propose_alone

    def propose_alone(self: Stream, listener: Listener, asked: Append, answers: Appends) -> None:
        kept = self._has_alone()
        last = kept[-1].sequence if kept else 0
        if asked.expected == last and not self._alone_proposal:
            for one in self.listeners:
                if one.nats == listener.nats:
                    one.hear(last + 1, last, asked.data)
        real(self, listener, asked, answers)

    with mock.patch.object(Stream, "_propose_alone", propose_alone):
        yield


@bug("leader-alone", "leader-down", replicas=3, spread_ms=300)
def nats_elects_one_that_lacks_the_end() -> Iterator[None]:
    """A new leader does not have the last record that was acknowledged."""
    real = Stream._elected

    def elected(self: Stream) -> None:
        real(self)
        if self.log:
            self.log.pop()

    with mock.patch.object(Stream, "_elected", elected):
        yield
