"""Answers come in the order of the requests, whatever they are, and however they were cut into frames."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bcast_grpc.broker.base import Broker
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.memory import MemoryBroker
from bcast_grpc.broker.sqlite import SqliteBroker
from bcast_grpc.core.limits import Limits
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Ack, Error, Event, Kind, Members, Request

from .world import ALL, Client, LaterBroker, World

LIMITS = Limits(max_message_bytes=100, queue_messages=4000, queue_bytes=1 << 20)
KEEPING = Retention(messages=10, bytes=1 << 20, age_s=60, dedup_s=60)

REQUESTS = {
    "new": Request(msg="hola"),
    "empty": Request(),
    "too large": Request(msg="x" * 101),
    "who": Request("who"),
    "join": Request("join", "eva"),
    "join nothing": Request("join"),
    "unknown": Request("shout", "hola"),
    "malformed": Request(fault="msg: takes a text"),
}
"""Each of them gets an id of its own; "again" is a message that was sent before."""

SAYINGS = st.lists(st.lists(st.sampled_from([*REQUESTS, "again", "new", "new", "no id"]), max_size=8), max_size=6)


@asynccontextmanager
async def brokers(name: str) -> AsyncIterator[Broker]:
    """Give a broker of this kind."""
    with TemporaryDirectory() as place:
        broker: Broker = MemoryBroker(KEEPING) if name == "memory" else SqliteBroker(Path(place) / "store", KEEPING)
        yield broker
        await broker.close()


async def come_to_rest(world: World, broker: Broker) -> None:
    """Let everything happen that can, in the store's thread too."""
    world.settle()
    answered = asyncio.Event()
    (await broker.open("lobby")).after_answers(answered.set)
    await asyncio.wait_for(answered.wait(), 30)
    world.settle()


def requests_of(frames: list[list[str]]) -> list[list[Request]]:
    """Return what these words ask for."""
    made: list[list[Request]] = []
    sent = ["first"]
    for frame in frames:
        made.append([])
        for word in frame:
            id_ = f"{word} {sum(map(len, made))}"
            if word == "again":
                made[-1].append(Request(msg="hola", id=sent[-1]))
            elif word == "no id":
                made[-1].append(Request(msg="hola"))
            else:
                made[-1].append(REQUESTS[word]._replace(id=id_))
            if word == "new":
                sent.append(id_)
    return made


def answered(client: Client) -> list[Event]:
    """Return the answers that the client received, in order."""
    return [event for event in client.received if event.kind in (Kind.ACK, Kind.ERROR, Kind.MEMBERS)]


@pytest.mark.parametrize("name", ["memory", "sqlite"])
@given(frames=SAYINGS, steps=st.lists(st.integers(0, 4), min_size=6, max_size=6), batch=st.booleans())
@settings(deadline=None, max_examples=60)
async def test_answers_come_in_the_order_of_the_requests(
    name: str, frames: list[list[str]], steps: list[int], batch: bool
) -> None:
    """Accepted or refused, new or sent before: the ids of the answers are those of the requests, in their order."""
    async with brokers(name) as broker:
        await broker.open("lobby")  # or the world's clients would have to wait for it
        world = World(LIMITS, broker)
        ana, bob = world.join("ana", batch=batch), world.join("bob")
        ana.ask(Request(msg="hola", id="first"))
        requests = requests_of(frames)
        for frame, some in zip(requests, steps, strict=False):
            ana.ask(*frame)
            bob.say("so")
            for _ in range(some):
                world.scheduler.step()
        await come_to_rest(world, broker)
        asked = ["first", *(request.id for frame in requests for request in frame if request.id)]
        assert [event.id for event in answered(ana)] == asked
        seqs = [event.detail.seq for event in answered(ana) if isinstance(event.detail, Ack) and event.detail.seq]
        assert len(set(seqs)) == 1 + sum(frame.count("new") for frame in frames)


@pytest.mark.parametrize("name", ["memory", "sqlite"])
async def test_a_duplicate_in_the_same_frame_is_answered_after_the_first_one(name: str) -> None:
    """The ack of the first one says how many have it, the second one's that it is the same."""
    async with brokers(name) as broker:
        await broker.open("lobby")  # or the world's clients would have to wait for it
        world = World(LIMITS, broker)
        ana, _ = world.join("ana"), world.join("bob")
        ana.ask(*[Request(msg=text, id=text) for text in "aabab"])
        await come_to_rest(world, broker)
        acks = [event.detail for event in answered(ana) if isinstance(event.detail, Ack)]
        assert [(ack.seq, ack.duplicate, ack.queued) for ack in acks] == [
            (1, False, 1),
            (1, True, 0),
            (2, False, 1),
            (1, True, 0),
            (2, True, 0),
        ]


def test_what_is_refused_for_its_rate_is_answered_between_those_that_are_not() -> None:
    """Five at once, where three are let through. A question counts as a message does."""
    world = World(Limits(rate=1, burst=3))
    ana = world.join("ana")
    ana.ask(*[Request(msg="hola", id=str(number)) for number in range(4)], Request("who", id="4"))
    world.scheduler.now += 1
    ana.ask(Request(msg="hola", id="5"))
    world.settle()
    assert [(event.id, event.kind) for event in answered(ana)] == [
        ("0", Kind.ACK),
        ("1", Kind.ACK),
        ("2", Kind.ACK),
        ("3", Kind.ERROR),
        ("4", Kind.ERROR),
        ("5", Kind.ACK),
    ]


def test_what_a_broker_answers_late_is_not_overtaken() -> None:
    """Errors, lists and new names wait for the messages before them, also where those are refused."""
    broker = LaterBroker()
    world = World(broker=broker)
    ana = world.join("ana")
    ana.ask(Request(msg="hola", id="1"), Request(id="2"), Request("join", "eva", id="3"), Request("who", id="4"))
    world.settle()
    assert answered(ana) == []
    broker.refuse(CallError(ErrorCode.BROKER_UNAVAILABLE, "no disk"))
    world.settle()
    assert [event.id for event in answered(ana)] == ["1", "2", "3", "4"]
    ana.ask(Request(msg="hola", id="5"), Request(id="6"), Request("leave", id="7"))
    broker.accept()
    world.settle()
    assert [event.id for event in answered(ana)[4:]] == ["5", "6", "7"]
    assert ana.closed


def test_who_is_fed_is_answered_in_order_too() -> None:
    """Whoever is still reading what was said before gets its answers beside that, in their order."""
    world = World(broker=MemoryBroker(KEEPING))
    world.join("bob").say(*"abcdefgh")
    world.settle()
    ana = world.join("ana", history=8)
    ana.ask(Request(msg="hola", id="1"), Request(id="2"), Request(msg="hola", id="1"), Request("who", id="3"))
    world.settle()
    assert [event.id for event in answered(ana)] == ["1", "2", "1", "3"]


def test_errors_alone_wait_for_nothing() -> None:
    """Where no message is pending, an answer needs no flush."""
    world = World()
    ana = world.join()
    world.settle()
    ana.ask(Request(id="1"), Request("who", id="2"))
    ana.write_all()
    assert [event.id for event in answered(ana)] == ["1", "2"]
    assert isinstance(answered(ana)[0].detail, Error)


@pytest.mark.parametrize("later", [False, True])
@given(st.lists(st.sampled_from(["new", "who", "joined", "renamed", "left", "step", "accept"]), max_size=25))
@example(["new", "who", "joined"])
@example(["new", "who", "joined", "renamed", "step", "left"])
@settings(deadline=None)
def test_a_list_is_never_older_than_the_notices_before_it(later: bool, steps: list[str]) -> None:
    """A list with all JOINED and LEFT after it says who is there, though acks are pending while it is asked for."""
    broker = LaterBroker()
    world = World(broker=broker if later else None)
    ana, bob = world.join("ana"), world.join("bob", kinds=ALL)
    passers: list[Client] = []
    for number, step in enumerate(steps):
        if step == "new":
            ana.ask(Request(msg="hola", id=f"{number}"))
        elif step == "who":
            bob.ask(Request("who"))
        elif step == "joined":
            passers.append(world.join(f"passer {number}"))
        elif step == "renamed" and passers:
            passers[0].ask(Request("join", f"passer {number}"))
        elif step == "left" and passers:
            passers.pop(0).close()
        elif step == "accept":
            broker.accept()
        else:
            world.scheduler.step()
    broker.accept()
    world.settle()
    there = {member.session: member.name for member in world.hub.members("lobby")}
    believed = {client.session.id: there[client.session.id] for client in (ana, bob)}
    for event in bob.received:
        if isinstance(event.detail, Members):
            believed = {member.session: member.name for member in event.detail.members}
        elif event.kind is Kind.JOINED:
            believed[event.author.session] = event.author.name
        elif event.kind is Kind.LEFT:
            believed.pop(event.author.session, None)
    assert believed == there
