"""The process has one bound: what is queued counts, once, and so do ids and rooms."""

from __future__ import annotations

import gc
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcast_grpc.broker.budget import Budget
from bcast_grpc.broker.ids import ID_BYTES
from bcast_grpc.core import held
from bcast_grpc.core.batch import Encoder, Frame
from bcast_grpc.core.held import distinct_bytes
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.outbox import Outbox, no_room
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import Error, Request

from .crowded import speak, world_of
from .world import admit


def outbox_of(frames: list[Frame]) -> Outbox:
    """A queue with these frames."""
    outbox = Outbox(Encoder(lambda _: [], 0), max_messages=1 << 30, max_bytes=1 << 40, wake=lambda: None)
    outbox.offer(frames)
    return outbox


@pytest.mark.parametrize("looks", [1 << 30, 0])
def test_the_ends_of_other_queues_are_recognized(looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there are too many to look at all; and what is nobody else's counts in full."""
    monkeypatch.setattr(held, "_LOOKS", looks)
    shared = [Frame(bytes(100 + place), 1, place, True) for place in range(100)]
    queues = [shared, shared[50:], shared[99:], [Frame(bytes(bytearray(77)), 1)] * 2]
    expected = sum(len(frame[0]) for frame in shared) + (77 if looks else 154)
    assert distinct_bytes([outbox_of(frames) for frames in queues]) == expected


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), max_size=4)),
        max_size=12,
    )
)
@settings(deadline=None)
def test_shared_frames_count_once(queues: list[tuple[int, list[tuple[int, int]]]]) -> None:
    """Queues are ends of what a room has pushed, with frames of their own in between: that is what is counted."""
    shared = [Frame(bytes([place]) * (place + 10), 1, place, True) for place in range(30)]
    outboxes: list[Outbox] = []
    distinct: dict[int, int] = {}
    for begin, own in queues:
        frames = shared[begin:]
        for place, size in own:
            frames.insert(place, Frame(bytes(bytearray(size * 1000)), 1))
        outboxes.append(outbox_of(frames))
        distinct |= {id(frame[0]): len(frame[0]) for frame in frames}
    assert distinct_bytes(outboxes) == sum(distinct.values())


def test_who_shares_what_is_queued_is_no_reason_to_refuse_others() -> None:
    """Fifty clients that do not read have the same queued."""
    budget = Budget(1_000_000)
    world = world_of(budget, messages=0)
    ana = world.join("ana")
    readers = [world.join() for _ in range(50)]
    for _ in range(10):
        ana.say("x" * 10_000)
        world.scheduler.settle()
        ana.write_all()
    assert sum(reader.session.outbox.queued_bytes for reader in readers) > 5_000_000
    world.hub.relieve()
    assert 100_000 <= budget.queues < 110_000
    world.join()


def test_who_has_much_to_write_shares_it() -> None:
    """A hundred clients write the same message, and others are at the same place of a history: both count once."""
    budget = Budget(1_000_000)
    world = world_of(budget)
    speak(world, "b", 1, 60_000)
    readers = [world.join(room="a") for _ in range(100)] + [world.join(room="b", history=1) for _ in range(100)]
    speak(world, "a", 1, 60_000)
    for reader in readers:
        reader.session.take()
    world.hub.relieve()
    assert 120_000 <= budget.queues < 200_000
    assert not any(reader.session.outbox.closed for reader in readers)
    world.join()


def test_who_sends_ids_is_held_up_when_they_run_out_and_then_refused() -> None:
    """Others go on, and so does whoever sends without an id; what was sent before is still known."""
    budget = Budget(4 * ID_BYTES * 100)
    world = world_of(budget, messages=0)
    budget.max_bytes = 1 << 40
    ana, bob = world.join("ana"), world.join("bob")
    ana.ask(*[Request(msg="x", id=str(number)) for number in range(99)])
    world.settle()
    assert not ana.session.congested
    ana.ask(*[Request(msg="x", id=str(number)) for number in range(99, 102)])
    bob.ask(Request(msg="y"))
    assert ana.session.congested
    woken: list[bool] = []
    ana.session.when_flushed(lambda: woken.append(True))
    world.settle()
    assert (woken, ana.session.congested, bob.session.congested) == ([True], False, False)
    *_, accepted, first, second = [detail for _, detail in ana.answers()]
    assert not isinstance(accepted, Error)
    for refusal in (first, second):
        assert isinstance(refusal, Error)
        assert (refusal.code, refusal.retryable) == (ErrorCode.RATE_LIMITED, True)
        assert 0 < refusal.retry_after_s <= 120
    ana.ask(Request(msg="x", id="0"), Request(msg="z"))
    world.settle()
    assert [(id_, detail.duplicate) for id_, detail in ana.answers()] == [("0", True)]
    assert [event.message for event in bob.received][-1] == "ana: z"


def test_a_publish_that_nobody_can_repeat_is_not_remembered() -> None:
    """Without a stable id of its own each call is another author."""
    budget = Budget()
    world = world_of(budget)
    answers: list[str] = []
    for client, ids in [("", 0), ("c", 1)]:
        publisher = Publisher(admit(world.hub, Hello(client=client)), answer=lambda event: answers.append(event.id))
        publisher.publish(Request(msg="x", id="1"))
        world.settle()
        assert budget.ids == ids * ID_BYTES
        publisher.close()
    assert answers == ["1", "1"]


def test_nothing_is_left_of_a_room_without_a_collection() -> None:
    """Rooms that end are many, and collections are rare."""
    world = world_of(Budget(), messages=0)
    gc.disable()
    try:
        ana = world.join("ana", room="dev")
        room = weakref.ref(world.hub._rooms["dev"])
        ana.say("hola")
        world.scheduler.step()
        ana.say("adios")
        ana.close()
        ana.session.outbox.wake, ana.session.outbox.write_now = lambda: None, no_room  # as a stream does
        world.clients.clear()
        del ana
        world.scheduler.settle()
        assert room() is None
    finally:
        gc.enable()
