"""Going on where one was, hearing what was said before, and catching up: from the history, without a seam."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bcast_grpc.broker.base import DeliverEvents
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.memory import MemoryBroker, MemoryOrder
from bcast_grpc.core.limits import Limits, SlowPolicy
from bcast_grpc.core.room import Room
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Ack, Event, Gap, GapReason, Kind, Request, ResumePoint

from .world import ALL, Client, World


def world_of(*, messages: int = 1000, **limits: Any) -> World:
    """A world in which so many messages are kept."""
    return World(Limits(**limits), MemoryBroker(Retention(messages=messages)))


def position(client: Client, seq: int) -> ResumePoint:
    """A place in the order that a client is in."""
    return ResumePoint(client.session.epoch, seq)


def seqs(client: Client) -> list[int]:
    """The places of the messages that a client has received since it was last asked."""
    return [event.seq for event in client.new() if event.kind is Kind.MESSAGE]


def gaps(events: list[Event]) -> list[Gap]:
    """What was said to be missing."""
    return [event.detail for event in events if isinstance(event.detail, Gap)]


@pytest.fixture
def world() -> World:
    """One in which three messages were said, by somebody who is still there."""
    world = world_of()
    world.join("ana").say("1", "2", "3")
    world.settle()
    return world


# --- a history that is on a disk


class DiskOrder(MemoryOrder):
    """An order whose history is read when its broker is told to."""

    def __init__(self, room: str, broker: DiskBroker) -> None:
        super().__init__(room, broker)
        self._reads = broker.reads

    def read(self, after: int, count: int, max_bytes: int, deliver: DeliverEvents) -> None:
        """Read later."""
        self._reads.append(partial(self._read, after, count, max_bytes, deliver))

    def _read(self, after: int, count: int, max_bytes: int, deliver: DeliverEvents) -> None:
        if after + 1 < self.oldest:
            deliver([])
        else:
            super().read(after, count, max_bytes, deliver)


class DiskBroker(MemoryBroker):
    """A broker with such orders.

    Attributes:
        reads: what is to be read, the first one first.
    """

    def __init__(self, retention: Retention) -> None:
        super().__init__(retention)
        self.reads: deque[Callable[[], None]] = deque()

    async def open(self, room: str) -> MemoryOrder:
        """Return the order that is in use, or a new one."""
        return self._used.get(room) or DiskOrder(room, self)


@pytest.mark.parametrize("messages", [300, 2000])
def test_who_waits_for_a_disk(messages: int) -> None:
    """All get everything once and in order, while more is said; what two of them want is read once."""
    broker = DiskBroker(Retention(messages=messages))
    world = World(Limits(), broker)
    ana = world.join("ana")
    ana.say(*(f"{n}" for n in range(1000)))
    world.settle()
    listeners = [world.join(history=messages) for _ in range(2)]
    for _ in range(20):
        ana.say("more")
        world.settle()
        assert len(broker.reads) <= 1
        if broker.reads:
            broker.reads.popleft()()
    world.settle()
    assert not broker.reads
    heard = [[event.seq for event in listener.received if event.kind is Kind.MESSAGE] for listener in listeners]
    missing = [gaps(listener.received) for listener in listeners]
    assert heard[0] == heard[1]
    if messages == 2000:
        assert heard[0] == list(range(1, 1021))
        assert missing == [[], []]
    else:  # what was dropped meanwhile is said to be missing
        lost = [seq for gap in missing[0] for seq in range(gap.first_missed, gap.last_missed + 1)]
        assert heard[0] == sorted(set(heard[0]))
        assert sorted(heard[0] + lost) == list(range(701, 1021))


def test_who_goes_away_while_the_disk_is_read() -> None:
    """What is read then is for nobody, and nothing of it is kept."""
    broker = DiskBroker(Retention())
    world = World(Limits(), broker)
    world.join("ana").say("1", "2")
    world.settle()
    bob = world.join(history=2)
    world.settle()
    bob.close()
    broker.reads.popleft()()
    world.settle()
    assert world.hub._rooms["lobby"].feed.held_bytes == 0


def test_a_history_that_cannot_be_read_ends_the_call() -> None:
    """The client may come again."""
    broker = DiskBroker(Retention())
    world = World(Limits(), broker)
    world.join("ana").say("1", "2")
    world.settle()
    bob = world.join(history=2)
    world.settle()
    broker.reads.clear()
    (takes,) = world.hub._rooms["lobby"].feed._replays._reading.values()
    takes[0](CallError(ErrorCode.BROKER_UNAVAILABLE, "disk I/O error"))
    world.settle()
    assert bob.error
    assert bob.error.code is ErrorCode.BROKER_UNAVAILABLE


# --- what was said before


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize(("wanted", "heard"), [(0, []), (1, [3]), (2, [2, 3]), (3, [1, 2, 3]), (99, [1, 2, 3])])
def test_the_last_messages(world: World, wanted: int, heard: list[int], batch: bool) -> None:
    """Who asks for some of the last messages gets them, then what comes."""
    bob = world.join(batch=batch, history=wanted)
    world.settle()
    assert seqs(bob) == heard
    world.clients[0].say("4")
    world.settle()
    assert seqs(bob) == [4]


def test_the_welcome_comes_first(world: World) -> None:
    """Before what was said before; nothing was resumed."""
    bob = world.join(history=2, kinds=ALL)
    world.settle()
    first, *others = bob.received
    assert first.kind is Kind.WELCOME
    assert (first.seq, first.detail.resumed) == (3, False)  # type: ignore[union-attr]
    assert [event.seq for event in others] == [2, 3]


def test_ones_own_messages_stay_out_of_it() -> None:
    """Unless they are asked for."""
    world = world_of()
    for name in ("ana", "bob"):
        world.join(name, client=name).say("x", "y")
    for client in world.clients:
        client.close()
    quiet, loud = world.join(client="ana", history=9), world.join(client="bob", history=9, echo=True)
    world.settle()
    assert seqs(quiet) == [3, 4]
    assert seqs(loud) == [1, 2, 3, 4]


def test_what_is_said_meanwhile_follows(world: World) -> None:
    """Whatever comes while one is being fed comes after that, once."""
    ana = world.clients[0]
    bob = world.join(history=3)
    ana.say("4")
    bob.write()
    ana.say("5")
    world.scheduler.run_soon()
    bob.write()
    ana.say("6")
    world.settle()
    assert seqs(bob) == [1, 2, 3, 4, 5, 6]


def test_what_was_pending_at_the_arrival_is_not_forgotten(world: World) -> None:
    """A message that was accepted before one came, and flushed after, is a part of what was said before."""
    ana = world.clients[0]
    ana.say("4")  # not flushed yet
    bob, eva = world.join(history=2), world.join()
    world.settle()
    assert seqs(bob) == [3, 4]
    assert seqs(eva) == []


def test_everyone_shares_what_was_encoded() -> None:
    """Thousands who ask for the same are given the same bytes."""
    world = world_of()
    ana = world.join("ana")
    for n in range(600):
        ana.say(f"{n}")
    world.settle()
    before = len(world.batches.encoded)
    crowd = [world.join(history=600) for _ in range(50)]
    world.settle()
    assert all(seqs(client) == list(range(1, 601)) for client in crowd)
    assert len(world.batches.encoded) - before == 600


def test_it_is_not_counted_as_queued() -> None:
    """However long the history and however small the queue, who is fed at its own pace loses nothing."""
    world = world_of(queue_messages=8, messages=5000)
    ana = world.join("ana")
    for n in range(1000):
        ana.say(f"{n}")
        world.settle()
    bob = world.join(history=1000, batch=False)
    for _ in range(500):
        bob.write()
    ana.say("one more")
    world.settle()
    assert seqs(bob) == list(range(1, 1002))


# --- going on


def test_going_on_where_one_was(world: World) -> None:
    """What came after that place, and the welcome says that nothing is missing."""
    bob = world.join(after=position(world.clients[0], 1), kinds=ALL)
    world.settle()
    assert bob.received[0].detail.resumed is True  # type: ignore[union-attr]
    assert [event.seq for event in bob.received[1:]] == [2, 3]


def test_going_on_at_the_head(world: World) -> None:
    """There is nothing to be fed with."""
    bob = world.join(after=position(world.clients[0], 3), kinds=ALL)
    assert bob.received == []
    world.clients[0].say("4")
    world.settle()
    assert [event.kind for event in bob.received] == [Kind.WELCOME, Kind.MESSAGE]
    assert bob.received[0].detail.resumed is True  # type: ignore[union-attr]


def test_a_history_beside_a_place_has_no_effect(world: World) -> None:
    """The place counts."""
    bob = world.join(after=position(world.clients[0], 2), history=3)
    world.settle()
    assert seqs(bob) == [3]


@pytest.mark.parametrize("seq", [4, 2**64 - 1])
def test_a_place_beyond_the_head(world: World, seq: int) -> None:
    """The order went back: that is said as a new epoch is, then comes all that is kept, and what is said next."""
    bob = world.join(after=position(world.clients[0], seq), kinds=ALL)
    world.clients[0].say("4")
    world.settle()
    assert [event.kind for event in bob.received[:2]] == [Kind.WELCOME, Kind.GAP]
    assert bob.received[0].detail.resumed is False  # type: ignore[union-attr]
    assert gaps(bob.received) == [Gap(0, 0, GapReason.NEW_EPOCH)]
    assert seqs(bob) == [1, 2, 3, 4]


def test_a_place_of_another_order(world: World) -> None:
    """The order began anew: that is said, then comes all that is kept of the new one."""
    bob = world.join(after=ResumePoint("other", 99), kinds=ALL)
    world.settle()
    assert [event.kind for event in bob.received[:2]] == [Kind.WELCOME, Kind.GAP]
    assert bob.received[0].detail.resumed is False  # type: ignore[union-attr]
    assert gaps(bob.received) == [Gap(0, 0, GapReason.NEW_EPOCH)]
    assert seqs(bob) == [1, 2, 3]


def test_what_is_kept_no_longer_is_named() -> None:
    """A gap tells which are missing, then comes what is kept."""
    world = world_of(messages=2)
    ana = world.join("ana")
    ana.say("1", "2", "3", "4", "5")
    world.settle()
    bob = world.join(after=position(ana, 1), kinds=ALL)
    world.settle()
    assert bob.received[0].detail.resumed is False  # type: ignore[union-attr]
    assert gaps(bob.received) == [Gap(2, 3, GapReason.TRIMMED)]
    assert seqs(bob) == [4, 5]


def test_who_is_fed_too_slowly_is_told() -> None:
    """What went out of the history before it was read is missing, and named."""
    world = world_of(messages=4)
    ana = world.join("ana")
    ana.say("1", "2", "3", "4")
    world.settle()
    bob = world.join(history=4, batch=False)
    bob.write()
    for n in range(5, 12):
        ana.say(f"{n}")
        world.scheduler.run_soon()
        ana.write_all()
    world.settle()
    heard = bob.received
    (gap,) = gaps(heard)
    assert gap.reason is GapReason.SLOW
    assert [e.seq for e in heard if e.kind is Kind.MESSAGE] == [
        seq for seq in range(1, 12) if not gap.first_missed <= seq <= gap.last_missed
    ]


def test_the_order_outlives_its_members(world: World) -> None:
    """When everyone has left, who comes back goes on."""
    place = position(world.clients[0], 2)
    world.clients[0].close()
    bob = world.join(after=place)
    world.settle()
    assert bob.session.epoch == place.epoch
    assert seqs(bob) == [3]


def test_leaving_waits_for_what_one_is_fed_with(world: World) -> None:
    """Who half-closes at once still gets what it asked for."""
    bob = world.join(history=3)
    bob.session.leave("bye")
    world.settle()
    assert bob.closed
    assert [event.seq for event in bob.received if event.kind is Kind.MESSAGE] == [1, 2, 3]
    assert bob.received[-1].id == "bye"


def test_notices_come_meanwhile() -> None:
    """Departures are in no history: who is being fed is told of them too, once."""
    world = world_of()
    ana, eva = world.join("ana"), world.join("eva")
    for n in range(600):
        ana.say(f"{n}")
    world.settle()
    bob = world.join(history=600)
    bob.write()
    eva.close()
    world.settle()
    texts = [event.message for event in bob.received if event.kind is Kind.LEFT]
    assert texts == ["eva left"]
    assert seqs(bob) == list(range(1, 601))


def test_progress_does_not_run_ahead() -> None:
    """It is a place to resume from: who is fed hears of it when all before it has come."""
    world = world_of()
    ana = world.join("ana")
    for n in range(600):
        ana.say(f"{n}")
    world.settle()
    bob = world.join(history=600, kinds=ALL)
    bob.write()
    world.hub.for_each_room(Room.report_progress)
    world.settle()
    world.hub.for_each_room(Room.report_progress)
    world.settle()
    heard = [(event.kind, event.seq) for event in bob.received if event.kind in (Kind.MESSAGE, Kind.PROGRESS)]
    assert heard == [*((Kind.MESSAGE, seq) for seq in range(1, 601)), (Kind.PROGRESS, 600)]


def test_progress_does_not_run_ahead_of_what_is_dropped() -> None:
    """Who resumes from it has been told what it was not given before."""
    world = world_of(queue_messages=8, slow_policy=SlowPolicy.DROP)
    ana, bob = world.join("ana"), world.join(batch=False, kinds=ALL)
    for n in range(1, 25):
        ana.say(f"{n}")
        world.scheduler.advance(1)
        ana.write_all()
        if n == 8:
            world.hub.for_each_room(Room.report_progress)
    world.settle()
    told = [event for event in bob.received if event.kind in (Kind.MESSAGE, Kind.GAP, Kind.PROGRESS)]
    (at,) = (place for place, event in enumerate(told) if event.kind is Kind.PROGRESS)
    before = told[:at]
    missed = {seq for gap in gaps(before) for seq in range(gap.first_missed, gap.last_missed + 1)}
    assert missed | {event.seq for event in before if event.kind is Kind.MESSAGE} >= set(range(1, 9))


def test_acks_count_those_who_are_fed(world: World) -> None:
    """They will get it; the author, where it is being fed itself, does not count."""
    ana = world.clients[0]
    world.join(history=3)
    ana.ask(Request(msg="x", id="id"))
    world.scheduler.run_soon()
    ana.write_all()
    ((_, ack),) = ana.answers()
    assert (ack.queued, ack.refused) == (1, 0)  # type: ignore[union-attr]


# --- retries


def test_what_is_sent_again_is_acknowledged_again() -> None:
    """Within a session, and with a client's own id over another one; the others hear it once."""
    world = world_of()
    bob = world.join()
    ana = world.join("ana", client="c")
    ana.ask(Request(msg="x", id="1"), Request(msg="x", id="1"), Request(msg="y", id="2"))
    world.settle()
    again = world.join("ana", client="c")
    again.ask(Request(msg="y", id="2"), Request(msg="z", id="3"))
    world.settle()
    assert ana.answers() == [
        ("1", Ack(1, bob.session.epoch, False, 1)),
        ("1", Ack(1, bob.session.epoch, True)),
        ("2", Ack(2, bob.session.epoch, False, 1)),
    ]
    assert [(id_, ack.seq, ack.duplicate) for id_, ack in again.answers()] == [("2", 2, True), ("3", 3, False)]  # type: ignore[union-attr]
    assert [event.message for event in bob.received if event.kind is Kind.MESSAGE] == ["ana: x", "ana: y", "ana: z"]


def test_without_a_clients_own_id_a_session_is_its_own() -> None:
    """Another session may use the same ids."""
    world = world_of()
    bob = world.join()
    for _ in range(2):
        world.join().ask(Request(msg="x", id="1"))
    world.settle()
    assert seqs(bob) == [1, 2]


# --- slow clients


def test_dropping_the_oldest(caplog: pytest.LogCaptureFixture) -> None:
    """A client that reads too slowly loses the oldest messages, is told which, and stays; one line in the log."""
    world = world_of(queue_messages=8, slow_policy=SlowPolicy.DROP)
    ana, bob = world.join("ana"), world.join(batch=False)
    for n in range(1, 21):
        ana.say(f"{n}")
        world.scheduler.advance(1)
        ana.write_all()
    world.settle()
    (gap,) = gaps(bob.received)
    assert gap == Gap(1, 12, GapReason.SLOW)
    assert [event.seq for event in bob.received if event.kind is Kind.MESSAGE] == list(range(13, 21))
    assert bob.received[0].kind is Kind.GAP
    assert not bob.closed
    assert len([record for record in caplog.records if "slow consumer" in record.message]) == 1


def test_what_was_dropped_is_told_though_nothing_follows() -> None:
    """Answers took the place of all the messages in the queue: there is none left before which it could be told."""
    world = world_of(queue_messages=8, slow_policy=SlowPolicy.DROP)
    ana, bob = world.join("ana"), world.join(batch=False)
    for n in range(1, 9):
        ana.say(f"{n}")
        world.scheduler.advance(1)
        ana.write_all()
    for n in range(10):
        bob.ask(Request("who", id=f"{n}"))
    world.settle()
    assert gaps(bob.received) == [Gap(1, 8, GapReason.SLOW)]


def test_what_one_was_fed_with_is_not_called_missed() -> None:
    """Who was fed from the history and falls behind later is told of a gap after that."""
    world = world_of(queue_messages=8, slow_policy=SlowPolicy.DROP)
    ana = world.join("ana")
    ana.say("1", "2", "3")
    world.settle()
    bob = world.join(history=3, batch=False)
    bob.write()
    ana.say("4", "5", "6")
    world.settle()
    assert seqs(bob) == [1, 2, 3, 4, 5, 6]
    for n in range(7, 27):
        ana.say(f"{n}")
        world.scheduler.advance(1)
        ana.write_all()
    world.settle()
    assert gaps(bob.received) == [Gap(7, 18, GapReason.SLOW)]


def test_dropping_spares_what_is_in_no_history() -> None:
    """Departures and answers are not dropped."""
    world = world_of(queue_messages=8, slow_policy=SlowPolicy.DROP)
    ana, eva, bob = world.join("ana"), world.join("eva"), world.join(batch=True)
    ana.say("1", "2")
    eva.close()
    for n in range(3, 21):
        ana.say(f"{n}")
        world.scheduler.advance(1)
        ana.write_all()
    bob.ask(Request("join", "bob", id="renamed"))
    world.settle()
    assert [event.message for event in bob.received if event.kind is Kind.LEFT] == ["eva left"]
    assert [id_ for id_, _ in bob.answers()] == ["renamed"]


def test_catching_up(caplog: pytest.LogCaptureFixture) -> None:
    """A client that fell behind is fed from the history until it is level again, and misses nothing."""
    world = world_of(queue_messages=8, slow_policy=SlowPolicy.CATCH_UP)
    ana, eva, bob = world.join("ana"), world.join("eva"), world.join(batch=False)
    for n in range(1, 101):
        ana.say(f"{n}")
        world.scheduler.advance(1)
        ana.write_all()
        eva.write_all()
    eva.close()
    world.settle()
    ana.say("101")
    world.settle()
    assert seqs(bob) == list(range(1, 102))
    assert [event.message for event in bob.received if event.kind is Kind.LEFT] == ["eva left"]
    assert len([record for record in caplog.records if "slow consumer" in record.message]) == 1


def test_catching_up_has_its_limits() -> None:
    """What the history does not hold any more is named in a gap."""
    world = world_of(queue_messages=8, messages=20, slow_policy=SlowPolicy.CATCH_UP)
    ana, bob = world.join("ana"), world.join(batch=False)
    for n in range(1, 101):
        ana.say(f"{n}")
        world.scheduler.advance(1)
        ana.write_all()
    world.settle()
    (gap,) = gaps(bob.received)
    assert (gap.last_missed, gap.reason) == (80, GapReason.SLOW)
    assert [event.seq for event in bob.received if event.kind is Kind.MESSAGE] == [
        *range(1, gap.first_missed),
        *range(81, 101),
    ]


def test_leaving_waits_for_who_falls_behind_meanwhile() -> None:
    """Who says goodbye and is slow is given all that was said before that."""
    world = world_of(queue_messages=8, slow_policy=SlowPolicy.CATCH_UP)
    ana, bob = world.join("ana"), world.join(batch=False)
    for n in range(1, 31):
        ana.say(f"{n}")
        if n < 8:
            world.scheduler.advance(1)
            ana.write_all()
    bob.session.leave("bye")
    world.settle()
    assert bob.closed
    assert [event.seq for event in bob.received if event.kind is Kind.MESSAGE] == list(range(1, 31))
    assert bob.received[-1].id == "bye"


def test_nothing_is_called_missed_and_given_after_all() -> None:
    """Where less is kept than a flush takes, what is pending is given by the flush, and is in no gap."""
    world = world_of(messages=2)
    ana = world.join("ana")
    ana.say("1", "2")
    world.settle()
    bob = world.join(history=2, batch=False)
    ana.say(*(f"{n}" for n in range(3, 11)))  # not flushed yet
    bob.write_all()
    world.settle()
    heard = [event.seq for event in bob.received if event.kind is Kind.MESSAGE]
    told = {seq for gap in gaps(bob.received) for seq in range(gap.first_missed, gap.last_missed + 1)}
    assert sorted([*heard, *told]) == list(range(1, 11))


def test_who_is_disconnected_is_told_the_last_place() -> None:
    """So that it knows where to go on."""
    world = world_of(queue_messages=8)
    ana, bob = world.join("ana"), world.join(batch=False)
    ana.say("1")
    world.settle()
    for n in range(20):
        ana.say(f"{n}")
        world.scheduler.advance(1)
        ana.write_all()
    assert bob.error is not None
    assert "the last message sent to it is 1" in bob.error.reason


# --- properties


class Resuming(RuleBasedStateMachine):
    """Clients come, go on where they were, are fed, fall behind and leave, in any order; nobody misses anything unsaid.

    Everyone's messages are numbered by the room. A client has received all from its beginning on, but for its own and
    what a gap named.
    """

    policy = SlowPolicy.CATCH_UP

    def __init__(self) -> None:
        super().__init__()
        self.world = world_of(queue_messages=12, messages=30, slow_policy=self.policy)
        self.keeper = self.world.join("keeper")  # so that the order is one
        self.said = 0
        self.authors: dict[int, str] = {}
        self.begun: dict[Client, int] = {}
        self.names: dict[Client, str] = {}

    @property
    def here(self) -> list[Client]:
        """Those whose calls have not ended."""
        return [client for client in self.begun if not client.closed and not client.session.outbox.closed]

    @rule(texts=st.integers(1, 9), pick=st.integers(0, 9))
    def say(self, texts: int, pick: int) -> None:
        """Somebody says something."""
        client = ([self.keeper, *self.here])[pick % (len(self.here) + 1)]
        client.say(*"x" * texts)
        for _ in range(texts):
            self.said += 1
            self.authors[self.said] = self.names.get(client, "keeper")

    @rule(name=st.sampled_from("abc"), back=st.integers(0, 40), batch=st.booleans())
    def go_on(self, name: str, back: int, batch: bool) -> None:
        """Somebody comes and goes on where it was."""
        place = max(0, self.said - back)
        client = self.world.join(client=name, batch=batch, after=position(self.keeper, place))
        self.begun[client], self.names[client] = place, f":{name}"

    @rule(wanted=st.integers(0, 40), batch=st.booleans())
    def come(self, wanted: int, batch: bool) -> None:
        """Somebody comes for the first time."""
        kept = max(0, self.said - 30)
        client = self.world.join(batch=batch, history=wanted)
        self.begun[client] = max(self.said - wanted, kept) if wanted else self.said
        self.names[client] = client.session.id

    @precondition(lambda self: self.here)
    @rule(pick=st.integers(0, 9), steps=st.integers(1, 12))
    def read(self, pick: int, steps: int) -> None:
        """Somebody reads a little."""
        client = self.here[pick % len(self.here)]
        for _ in range(steps):
            client.write()

    @precondition(lambda self: self.here)
    @rule(pick=st.integers(0, 9))
    def go(self, pick: int) -> None:
        """Somebody's call ends."""
        self.here[pick % len(self.here)].close()

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.1]))
    def wait(self, seconds: float) -> None:
        """The loop goes on, and the keeper reads."""
        self.world.scheduler.advance(seconds)
        self.keeper.write_all()

    @rule()
    def settle(self) -> None:
        """Everyone reads all there is."""
        self.world.settle()
        for client in self.here:
            assert self.place_of(client) == self.said

    def place_of(self, client: Client) -> int:
        """Up to where a client has been given everything, or told that it will not be."""
        place = self.begun[client]
        for event in client.received:
            if isinstance(event.detail, Gap):
                assert event.detail.first_missed <= place + 1 or not self.others(
                    client, place + 1, event.detail.first_missed
                )
                place = max(place, event.detail.last_missed)
            elif event.kind is Kind.MESSAGE:
                assert event.seq > place, "twice, or out of order"
                assert not self.others(client, place + 1, event.seq), "missed without a word"
                assert self.authors[event.seq] != self.names[client], "its own"
                place = event.seq
        while place < self.said and self.authors[place + 1] == self.names[client]:
            place += 1
        return place

    def others(self, client: Client, first: int, stop: int) -> list[int]:
        """The places that are not of the client's own messages."""
        return [seq for seq in range(first, stop) if self.authors[seq] != self.names[client]]

    @invariant()
    def nobody_misses_anything_unsaid(self) -> None:
        """Whatever was received is the next in order, but for what is one's own and what was said to be missing."""
        for client in self.begun:
            self.place_of(client)

    @invariant()
    def nobody_is_put_out(self) -> None:
        """Who is slow is fed from the history."""
        for client in self.begun:
            assert client.error is None or client.error.code is ErrorCode.REPLACED


class ResumingAndDropping(Resuming):
    """The same where the oldest messages are dropped."""

    policy = SlowPolicy.DROP


Resuming.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
ResumingAndDropping.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestResuming = Resuming.TestCase
TestResumingAndDropping = ResumingAndDropping.TestCase


@given(st.integers(0, 60), st.integers(1, 40), st.integers(0, 70))
@settings(deadline=None, max_examples=60)
def test_whatever_was_kept_is_replayed(said: int, kept: int, wanted: int) -> None:
    """The last messages, as many as are wanted and kept."""
    world = world_of(messages=kept)
    ana = world.join("ana")
    ana.say(*"x" * said)
    world.settle()
    bob = world.join(history=wanted)
    world.settle()
    assert seqs(bob) == list(range(max(said - min(wanted, kept), 0) + 1, said + 1))


def test_who_is_fed_and_is_given_notices_counts_once() -> None:
    """An ack counts clients, not frames: the messages of one come from the history, its notices by the flush."""
    world = World(broker=MemoryBroker())
    ana = world.join("ana")
    ana.say("1")
    world.settle()
    world.join(history=1, kinds=ALL)
    ana.ask(Request("join", "eva"), Request(msg="2", id="x"))
    world.scheduler.run_soon()
    ana.write_all()
    (ack,) = [detail for id_, detail in ana.answers() if id_ == "x"]
    assert isinstance(ack, Ack)
    assert (ack.queued, ack.refused) == (1, 0)
