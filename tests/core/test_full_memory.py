"""Where memory is full, newcomers are refused in time, those inside go on, and nobody keeps others out for ever."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from bcast_grpc.broker.budget import Budget
from bcast_grpc.core.capacity import Memory
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Request

from .crowded import speak, wait, world_of
from .world import Client, World, admit


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


def publish(world: World) -> None:
    """Publish into a room that is not there."""
    Publisher(admit(world.hub, Hello(room="another")), answer=lambda _: None)


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

    def refused() -> None:
        with pytest.raises(CallError, match="max-memory"):
            world.join("eva", room="c")

    speak(world, "a", 50)
    speak(world, "b", 43)
    wait(world, 60)
    refused()
    wait(world, 9)
    refused()
    other.write_all()
    wait(world, 60)
    world.join("eva", room="c").session.close()
    speak(world, "b", 43)
    wait(world, 60)
    assert not slow.session.outbox.closed
    refused()
    wait(world, 11)
    error = slow.session.outbox.error
    assert error
    assert error.code is ErrorCode.SLOW_CONSUMER
    assert not other.session.outbox.closed
    world.join("eva", room="c")


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
