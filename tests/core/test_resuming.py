"""Whatever clients do: nobody misses anything unsaid, and all that is kept is replayed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bcast_grpc.core.limits import SlowPolicy
from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import Gap, Kind

from .received import position, seqs, world_of
from .world import Client


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
