"""The process has one bound: what is queued counts, newcomers are refused in time, and those inside go on."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcast_grpc.broker.budget import Budget
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.ids import ID_BYTES
from bcast_grpc.broker.memory import MemoryBroker
from bcast_grpc.core import held
from bcast_grpc.core.batch import Encoder, Frame
from bcast_grpc.core.capacity import Memory
from bcast_grpc.core.held import distinct_bytes
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.hub import Hub
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.outbox import Outbox, no_room
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Error, Request

from .world import Client, World, admit


def world_of(budget: Budget, **retention: int) -> World:
    """A world with a bound."""
    world = World(Limits(queue_messages=100_000, queue_bytes=1 << 30))
    broker = MemoryBroker(Retention(budget=budget, **retention))
    world.hub = Hub(broker, world.scheduler, world.hub.limits, budget)
    return world


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


def test_newcomers_are_refused_before_memory_is_full(caplog: pytest.LogCaptureFixture) -> None:
    """The error names the setting; those inside go on, and when there is room again others are let in."""
    budget = Budget(1_000_000)
    world = world_of(budget, messages=1000)
    ana, bob = world.join("ana", client="a"), world.join("bob")
    for _ in range(95):
        ana.say("x" * 10_000)
        world.scheduler.settle()
        ana.write_all()
    world.hub.relieve()
    assert budget.histories == 0
    for refused in (lambda: world.join("eva"), lambda: world.join(room="new"), lambda: publish(world)):
        with pytest.raises(CallError, match="max-memory") as refusal:
            refused()
        assert refusal.value.code is ErrorCode.SERVER_FULL
    assert list(world.hub.rooms) == ["lobby"]
    again = world.join("ana", client="a")
    again.ask(Request(msg="hola", id="1"))
    world.scheduler.settle()
    again.write_all()
    assert [id_ for id_, _ in again.answers()] == ["1"]
    bob.write_all()
    world.hub.relieve()
    world.join("eva")
    messages = [record.message.split(":")[0] for record in caplog.records]
    assert messages == [
        "memory runs short, so the largest histories are dropped",
        "memory is full, so new clients are refused",
    ]


def test_the_slowest_go_where_queues_alone_fill_the_memory() -> None:
    """As many as it takes, the largest queues first; the others stay, and the error names the setting."""
    budget = Budget(1_000_000)
    world = world_of(budget, messages=0)
    rooms = [(world.join("ana", room=room), world.join("bob", room=room)) for room in "abc"]
    reader = world.join("eva", room="a")
    for count, (sender, _) in enumerate(rooms, 1):
        for _ in range(count * 20):
            sender.say("x" * 10_000)
            world.scheduler.settle()
            sender.write_all()
            reader.write_all()
    world.hub.relieve()
    assert [slow.session.outbox.closed for _, slow in rooms] == [False, False, True]
    error = rooms[2][1].session.outbox.error
    assert error
    assert (error.code, "max-memory" in error.reason) == (ErrorCode.SLOW_CONSUMER, True)
    assert not reader.session.outbox.closed
    world.hub.relieve()
    assert budget.used < budget.max_bytes


def test_who_never_reads_keeps_nobody_out_for_long() -> None:
    """Newcomers wait while a burst is read; where none is refused, memory may stay nearly full."""
    world = world_of(Budget(1_000_000), messages=0)
    slow, other = world.join("bob", room="a"), world.join("bob", room="b")

    def fill(room: str, frames: int) -> None:
        ana = world.join("ana", room=room)
        for _ in range(frames):
            ana.say("x" * 10_000)
            world.scheduler.settle()
            ana.write_all()
        ana.session.close()

    def wait(seconds: int) -> None:
        for _ in range(seconds):
            world.scheduler.advance(1)
            world.hub.relieve()

    def refused() -> None:
        with pytest.raises(CallError, match="max-memory"):
            world.join("eva", room="c")

    fill("a", 50)
    fill("b", 43)
    wait(60)
    refused()
    wait(9)
    refused()
    other.write_all()
    wait(60)
    world.join("eva", room="c").session.close()
    fill("b", 43)
    wait(60)
    assert not slow.session.outbox.closed
    refused()
    wait(11)
    error = slow.session.outbox.error
    assert error
    assert error.code is ErrorCode.SLOW_CONSUMER
    assert not other.session.outbox.closed
    world.join("eva", room="c")


def wait(world: World, seconds: int) -> None:
    """Let time pass, as on a server."""
    for _ in range(seconds):
        world.scheduler.advance(1)
        world.hub.relieve()


def speak(world: World, room: str, messages: int, size: int = 10_000) -> None:
    """Let somebody say so many messages, each by itself, and go."""
    ana = world.join("ana", room=room)
    for _ in range(messages):
        ana.say("x" * size)
        world.scheduler.settle()
        ana.write_all()
    ana.session.close()


def stop_in_a_message(world: World, room: str) -> Client:
    """A client that begins to read the only message that is queued for it, and does not go on."""
    bob = world.join("bob", room=room)
    speak(world, room, 1, 60_000)
    bob.session.take()
    assert not bob.session.outbox.queued_bytes
    return bob


def leave_without_reading(world: World, room: str) -> Client:
    """A client that says that it leaves, and gets what is queued for it as long as it reads a little of that."""
    bob = world.join("bob", room=room)
    speak(world, room, 6)
    bob.session.leave()
    world.scheduler.settle()
    assert bob.session.outbox.closed
    return bob


def stop_in_a_history(world: World, room: str) -> Client:
    """A client that begins to read a history, and does not go on."""
    speak(world, room, 20)
    bob = world.join("bob", room=room, history=20)
    bob.session.take()
    assert not bob.session.outbox.queued_bytes
    return bob


@pytest.mark.parametrize(
    ("stop", "code"),
    [
        (stop_in_a_message, ErrorCode.SLOW_CONSUMER),
        (stop_in_a_history, ErrorCode.SLOW_CONSUMER),
        (leave_without_reading, None),
    ],
)
def test_who_stops_in_the_middle_keeps_nobody_out_for_long(
    stop: Callable[[World, str], Client], code: ErrorCode | None
) -> None:
    """It has an empty queue, and holds what it was to read next."""
    budget = Budget(1_000_000)
    world = world_of(budget)
    readers: list[Client] = []
    with suppress(CallError):
        while True:
            readers.append(stop(world, f"{len(readers)}"))
            world.hub.relieve()
    wait(world, 9)
    assert not any(reader.session.outbox.discarded for reader in readers)
    with pytest.raises(CallError, match="max-memory"):
        world.join("eva", room="new")
    wait(world, 2)
    ended = [reader for reader in readers if reader.session.outbox.discarded]
    assert {reader.error.code if reader.error else None for reader in ended} == {code}
    for reader in ended:
        reader.write_all()
    world.hub.relieve()
    for eva in (world.join("eva", room="new") for _ in range(3)):
        assert not eva.session.outbox.closed


def test_what_is_kept_for_the_next_reader_goes_before_histories() -> None:
    """Nobody misses it, and who reads on gets everything."""
    budget = Budget(1_000_000)
    world = world_of(budget)
    speak(world, "a", 40)
    bob = world.join("bob", room="a", history=40)
    for _ in range(30):
        bob.write()
    speak(world, "b", 20)
    held = budget.histories
    world.hub.relieve()
    assert budget.histories == held > 600_000
    assert budget.excess <= 0
    bob.write_all()
    assert len(bob.received) == 40


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


def test_a_memory_that_is_full_again_and_again_is_full() -> None:
    """Newcomers that come while others read would be let in now and then; clients that never read go all the same."""
    budget = Budget(1_000_000)
    world = world_of(budget, messages=0)
    slow, quick = world.join("bob", room="a"), world.join("eva", room="b")
    speak(world, "a", 87)
    for _ in range(5):
        speak(world, "b", 3)
        world.hub.relieve()
        with pytest.raises(CallError, match="max-memory"):
            world.join(room="c")
        quick.write_all()
        wait(world, 1)
        world.join(room="c").session.close()
        wait(world, 1)
    speak(world, "b", 3)
    world.hub.relieve()
    assert slow.session.outbox.closed
    assert not quick.session.outbox.closed


def test_a_memory_that_was_full_once_ends_nobody_later() -> None:
    """Nobody has been refused since, though it stays nearly full."""
    budget = Budget(1_000_000)
    world = world_of(budget, messages=0)
    slow, quick = world.join("bob", room="a"), world.join("eva", room="b")
    speak(world, "a", 86)
    speak(world, "b", 6)
    world.hub.relieve()
    with pytest.raises(CallError, match="max-memory"):
        world.join(room="c")
    quick.write_all()
    wait(world, 60)
    assert not budget.full
    assert not budget.eased
    assert not slow.session.outbox.closed


class Process(Memory):
    """A process that has so much memory, and takes more than what is counted."""

    def __init__(self, budget: Budget, size: int, besides: int) -> None:
        self.budget = budget
        self.size = size
        self.besides = besides

    def __str__(self) -> str:
        return "the process takes too much"

    def left(self, wanted: int = 0) -> int:
        """What is left of it."""
        return self.size - self.besides - self.budget.used


def test_what_the_process_takes_besides_is_memory_too(caplog: pytest.LogCaptureFixture) -> None:
    """Histories have only what is left; when nothing is, newcomers are refused. Those inside go on."""
    budget = Budget(1_000_000)
    world = world_of(budget, messages=1000)
    process = world.hub.capacity.memory = Process(budget, 1_000_000, besides=500_000)
    ana, bob = world.join("ana"), world.join("bob")

    def talk() -> None:
        for _ in range(95):
            ana.say("x" * 10_000)
            world.scheduler.settle()
            for one in (ana, bob):
                one.write_all()
            world.hub.relieve()

    talk()
    assert 300_000 < budget.histories < 500_000
    world.join("eva").session.close()
    process.besides = 999_000
    talk()
    assert budget.histories == 0
    with pytest.raises(CallError, match="the process takes too much"):
        world.join("fay")
    assert not bob.session.outbox.closed
    process.besides = 100_000
    world.hub.relieve()
    world.join("fay").session.close()
    talk()
    assert budget.histories > 700_000
    messages = [record.message.split(":")[0] for record in caplog.records]
    assert messages == [
        "memory runs short, so the largest histories are dropped",
        "memory is full, so new clients are refused",
    ]


def publish(world: World) -> None:
    """Publish into a room that is not there."""
    Publisher(admit(world.hub, Hello(room="another")), answer=lambda _: None)


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
