"""What a client can ask for, what it is answered, and which notices it gets."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from grpc import StatusCode

from bcast_grpc.v1 import chat_pb2 as pb

from .conftest import LocalDoor, Serve
from .peers import Peer

NOTICES = {pb.EVENT_KIND_WELCOME, pb.EVENT_KIND_JOINED, pb.EVENT_KIND_LEFT, pb.EVENT_KIND_PROGRESS}


async def test_join_gives_a_name(door: LocalDoor) -> None:
    """When a client takes a name, those who ask for it get ``JOINED``, and its messages bear the name."""
    watcher = await door.connect(events="joined")
    ana = await door.connect()
    await ana.ask("join", "ana", id="1")
    await ana.say("hola")
    ack, joined, message = await ana.hear(), await watcher.hear(), await watcher.hear()
    assert (ack.kind, ack.id) == (pb.EVENT_KIND_ACK, "1")
    assert ack.ack == pb.Ack(epoch=ana.epoch)  # no place: seq is 0
    assert (joined.kind, joined.message, joined.sender) == (pb.EVENT_KIND_JOINED, "ana joined", "ana")
    assert joined.session == ana.session
    assert joined.seq == 0
    assert joined.time.seconds > 0
    assert message.message == "ana: hola"


async def test_join_changes_a_name(door: LocalDoor) -> None:
    """When a client changes its name, the others get ``JOINED``: "ana is now eva"."""
    watcher = await door.connect(events="joined,left")
    ana = await door.connect("ana")
    await ana.ask("join", "eva")
    await ana.say("hola")
    await ana.half_close()
    joined, renamed, message, left = await watcher.hear_some(4)
    assert (joined.kind, joined.message) == (pb.EVENT_KIND_JOINED, "ana joined")
    assert (renamed.kind, renamed.message, renamed.sender) == (pb.EVENT_KIND_JOINED, "ana is now eva", "eva")
    assert message.message == "eva: hola"
    assert (left.kind, left.message, left.sender, left.session) == (pb.EVENT_KIND_LEFT, "eva left", "eva", ana.session)


async def test_join_is_not_told_to_the_one_who_joins(door: LocalDoor) -> None:
    """Nobody is told of its own doings."""
    ana = await door.connect("ana", events="joined,left")
    await ana.ask("join", "eva")
    await ana.ask("join", "ana", id="1")
    await ana.answer("1")
    await door.publish("hola")
    await ana.hear_until("hola")
    assert [event.kind for event in ana.heard] == [pb.EVENT_KIND_ACK, pb.EVENT_KIND_MESSAGE]


async def test_join_without_id_is_not_answered(door: LocalDoor) -> None:
    """A request without ``id`` that succeeds is answered by nothing."""
    ana = await door.connect()
    await ana.ask("join", "ana")
    await ana.say("hola")
    await ana.ask("who", id="1")
    assert (await ana.hear()).message == "1 here: ana"


async def test_the_same_name_twice(door: LocalDoor) -> None:
    """To join with the name that one has is answered, and told to nobody; two clients may have one name."""
    watcher = await door.connect(events="joined")
    ana, other = await door.connect("ana"), await door.connect("ana")
    await ana.ask("join", "ana", id="1")
    assert (await ana.answer("1")).kind == pb.EVENT_KIND_ACK
    await other.say("hola")
    assert [event.message for event in await watcher.hear_some(3)] == ["ana joined", "ana joined", "ana: hola"]


async def test_who(door: LocalDoor) -> None:
    """``who`` is answered with everyone who is here, in words and in detail."""
    ana, bob, nobody = await door.connect("ana"), await door.subscribe("bob"), await door.connect()
    await ana.ask("who", id="1")
    event = await ana.hear()
    assert (event.kind, event.id) == (pb.EVENT_KIND_MEMBERS, "1")
    assert event.message == "3 here: ana, bob and one without a name"
    members = event.members.members
    assert [(member.session, member.name) for member in members] == [
        (ana.session, "ana"),
        (bob.session, "bob"),
        (nobody.session, ""),
    ]
    since = [member.since.ToNanoseconds() for member in members]
    assert 0 < since[0] <= since[1] <= since[2] <= event.time.ToNanoseconds()


async def test_who_without_id(door: LocalDoor) -> None:
    """``who`` is answered without an ``id`` too; it would be of no use else."""
    ana = await door.connect()
    await ana.ask("who")
    event = await ana.hear()
    assert (event.kind, event.id, event.message) == (pb.EVENT_KIND_MEMBERS, "", "1 here: one without a name")


async def test_who_knows_the_room_only(door: LocalDoor) -> None:
    """``who`` tells of one's own room, as it is now."""
    ana = await door.connect("ana", room="dev", events="left")
    bob = await door.connect("bob", room="dev")
    await door.connect("eva")
    await bob.half_close()
    assert (await ana.hear()).message == "bob left"
    await ana.ask("who")
    assert (await ana.hear()).message == "1 here: ana"


async def test_leave(door: LocalDoor) -> None:
    """``leave`` with an ``id`` is answered as the last event, then the stream ends well, and the others are told."""
    ana, bob = await door.connect("ana"), await door.connect()
    await ana.say("adios", id="1")
    await ana.ask("leave", id="2")
    ending = await ana.end()
    assert ending.code == StatusCode.OK
    assert [(event.kind, event.id) for event in ending.before] == [(pb.EVENT_KIND_ACK, "1"), (pb.EVENT_KIND_ACK, "2")]
    assert ending.before[1].ack.seq == 0
    assert [event.message for event in await bob.hear_some(2)] == ["ana: adios", "ana left"]


async def test_leave_without_id(door: LocalDoor) -> None:
    """``leave`` without an ``id`` ends the stream well, without a word."""
    ana = await door.connect("ana")
    await ana.ask("leave")
    ending = await ana.end()
    assert (ending.code, ending.before) == (StatusCode.OK, ())


async def test_what_comes_after_leave_is_ignored(door: LocalDoor) -> None:
    """Requests after ``leave``, in the same frame or later, are neither carried out nor answered."""
    ana, bob = await door.connect("ana"), await door.connect()
    requests = [
        pb.ConnectRequest(msg="before", id="1"),
        pb.ConnectRequest(operacion="leave", id="2"),
        pb.ConnectRequest(msg="after", id="3"),
        pb.ConnectRequest(operacion="join", msg="eva", id="4"),
    ]
    await ana.send(pb.ConnectRequest(batch=requests))
    ending = await ana.end()
    assert [event.id for event in ending.before] == ["1", "2"]
    assert [event.message for event in await bob.hear_some(2)] == ["ana: before", "ana left"]


async def test_one_answer_to_each_id(door: LocalDoor) -> None:
    """Whatever is asked, exactly one event answers it, with its ``id``, and its kind is ACK, MEMBERS or ERROR."""
    ana = await door.connect(batch="1", echo="1")
    asked = {
        "broadcast": (pb.ConnectRequest(msg="hola"), pb.EVENT_KIND_ACK),
        "explicit": (pb.ConnectRequest(operacion="broadcast", data=b"\0"), pb.EVENT_KIND_ACK),
        "empty": (pb.ConnectRequest(), pb.EVENT_KIND_ERROR),
        "large": (pb.ConnectRequest(data=bytes(65_537)), pb.EVENT_KIND_ERROR),
        "join": (pb.ConnectRequest(operacion="join", msg="ana"), pb.EVENT_KIND_ACK),
        "nameless": (pb.ConnectRequest(operacion="join"), pb.EVENT_KIND_ERROR),
        "who": (pb.ConnectRequest(operacion="who"), pb.EVENT_KIND_MEMBERS),
        "unknown": (pb.ConnectRequest(operacion="dance"), pb.EVENT_KIND_ERROR),
        "nested": (pb.ConnectRequest(batch=[pb.ConnectRequest(msg="hola")]), pb.EVENT_KIND_ERROR),
        "leave": (pb.ConnectRequest(operacion="leave"), pb.EVENT_KIND_ACK),
    }
    for id_, (request, _) in asked.items():
        request.id = id_
    await ana.send(pb.ConnectRequest(batch=[request for request, _ in asked.values()]))
    ending = await ana.end()
    answers = [event for event in ending.before if event.id]
    assert Counter(event.id for event in answers) == Counter(asked.keys())
    assert {event.id: event.kind for event in answers} == {id_: kind for id_, (_, kind) in asked.items()}
    assert all(event.message for event in answers)


async def test_an_id_may_be_reused(door: LocalDoor) -> None:
    """Requests other than messages are answered as often as they are asked."""
    ana = await door.connect()
    for _ in range(3):
        await ana.ask("who", id="1")
        assert (await ana.hear()).id == "1"


async def test_ack(door: LocalDoor) -> None:
    """An ack tells the message's place and how many others, readers included, had it put into their queue."""
    ana = await door.connect("ana")
    for audience in range(3):
        await ana.say("hola", id=f"{audience}")
        event = await ana.hear()
        assert event.kind == pb.EVENT_KIND_ACK
        assert event.ack == pb.Ack(seq=audience + 1, epoch=ana.epoch, queued=audience)
        assert event.message
        assert event.time.seconds > 0
        assert (event.seq, event.sender) == (0, "")
        await (door.connect() if audience else door.subscribe())


@pytest.mark.parametrize(
    ("events", "wanted"),
    [
        ("welcome", {pb.EVENT_KIND_WELCOME}),
        ("joined", {pb.EVENT_KIND_JOINED}),
        ("left", {pb.EVENT_KIND_LEFT}),
        ("progress", {pb.EVENT_KIND_PROGRESS}),
        ("joined,progress", {pb.EVENT_KIND_JOINED, pb.EVENT_KIND_PROGRESS}),
        ("all", NOTICES),
        ("none", set()),
        (None, {pb.EVENT_KIND_LEFT}),
    ],
)
async def test_events_filter(serve: Serve, events: str | None, wanted: set[pb.EventKind]) -> None:
    """``bcast-events`` chooses among the four notices, with ``left`` for default; messages always come."""
    door = await serve(progress_s=0.02)
    watcher = await door.connect() if events is None else await door.connect(events=events)
    control = await door.connect(events="all")
    await (await door.connect("bob")).half_close()
    while not NOTICES.issubset(event.kind for event in control.heard):
        await control.hear()
    await door.publish("the end")
    await watcher.hear_until("the end")
    assert {event.kind for event in watcher.heard} == wanted | {pb.EVENT_KIND_MESSAGE}


async def test_welcome(door: LocalDoor) -> None:
    """WELCOME tells who and where one is, how many are here, and how far the room has come."""
    ana = await door.connect(room="dév")
    await ana.say("one", id="1")
    await ana.answer("1")
    bob = await door.connect("bob", room="dév", events="all")
    event = await bob.hear()
    assert event.kind == pb.EVENT_KIND_WELCOME
    assert event.welcome == pb.Welcome(session=bob.session, room="dév", epoch=ana.epoch, members=2)
    assert event.seq == 1
    assert event.message


async def test_welcome_comes_first(door: LocalDoor) -> None:
    """WELCOME comes first whatever goes on, and the first message after it has the next place."""
    ana = await door.connect()
    arriving = [door.open(events="all") for _ in range(10)]
    for n in range(200):
        await ana.say(f"{n}")
    for peer in arriving:
        await peer.arrive()
        await ana.say("after")
        welcome, message = await peer.hear_some(2)
        assert welcome.kind == pb.EVENT_KIND_WELCOME
        assert message.seq == welcome.seq + 1


async def test_progress(serve: Serve) -> None:
    """PROGRESS tells the room's head from time to time, in a quiet room too."""
    door = await serve(progress_s=0.02)
    ana = await door.connect(events="progress")
    assert [event.seq for event in await ana.hear_some(2)] == [0, 0]
    await door.publish("hola")
    await ana.hear_until("hola")
    for event in await ana.hear_some(2):
        assert (event.kind, event.seq, event.sender) == (pb.EVENT_KIND_PROGRESS, 1, "")
        assert event.message
        assert event.time.seconds > 0


async def test_half_close_is_a_leave(door: LocalDoor) -> None:
    """A client that ends its side gets what is queued for it, then OK, and the others are told."""
    ana, bob = await door.connect("ana"), await door.connect()
    await bob.send(pb.ConnectRequest(batch=[pb.ConnectRequest(msg=f"{n}") for n in range(3000)]))
    await bob.say("the last", id="1")
    await bob.answer("1")
    await ana.half_close()
    ending = await ana.end()
    assert ending.code == StatusCode.OK
    assert [event.message for event in ending.before] == [*(f"{n}" for n in range(3000)), "the last"]
    assert (await bob.hear()).message == "ana left"


async def test_half_close_after_sending(door: LocalDoor) -> None:
    """What was sent before the half-close is carried out and answered."""
    ana, bob = await door.connect(batch="1"), await door.connect(batch="1")
    await ana.send(pb.ConnectRequest(batch=[pb.ConnectRequest(msg=f"{n}", id=f"{n}") for n in range(3000)]))
    await ana.half_close()
    ending = await ana.end()
    assert ending.code == StatusCode.OK
    assert [event.id for event in ending.before] == [f"{n}" for n in range(3000)]
    assert [event.message for event in await bob.hear_some(3000)] == [f"{n}" for n in range(3000)]


async def test_messages_to_clients_that_leave(door: LocalDoor) -> None:
    """Who comes and goes while messages are sent harms neither these nor their acks; who leaves gets a good end."""
    ana, bob = await door.connect(batch="1"), await door.connect(batch="1", events="none")

    async def pass_through() -> None:
        for _ in range(5):
            peer: Peer = await door.connect("passer-by")
            await peer.hear()
            await peer.ask("leave")
            assert (await peer.end()).code == StatusCode.OK

    passing = asyncio.gather(*(pass_through() for _ in range(4)))
    count = 0
    while not passing.done():
        await ana.say("hola", id=f"{count}")
        await ana.answer(f"{count}")
        count += 1
    await passing
    acks = [event.ack for event in ana.heard if event.kind == pb.EVENT_KIND_ACK]
    assert [ack.seq for ack in acks] == list(range(1, count + 1))
    assert {ack.refused for ack in acks} == {0}
    assert [event.seq for event in await bob.hear_some(count)] == list(range(1, count + 1))


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize("way", ["grpc", "websocket", "socket"])
async def test_answers_come_in_the_order_of_the_requests(serve: Serve, tmp_path: Path, store: str, way: str) -> None:
    """At each door, with each store: messages, duplicates, faults, lists and names, all sent at once."""
    place = "memory:" if store == "memory" else f"sqlite:{tmp_path / 'store'}"
    door = await serve(store=place, http_port=0, tcp_port=0)
    texts: list[tuple[str, str, str]] = []
    for number in range(40):
        texts += [("", "hola", f"{number} new"), ("", "hola", f"{number} new"), ("", "", f"{number} empty")]
        texts += [("who", "", f"{number} who"), ("join", f"ana {number}", f"{number} join"), ("x", "", f"{number} x")]
    if way == "grpc":
        ana = await door.connect()
        await ana.send(
            pb.ConnectRequest(batch=[pb.ConnectRequest(operacion=what, msg=text, id=id_) for what, text, id_ in texts])
        )
        heard = [(await ana.hear()).id for _ in texts]
    else:
        peer = await (door.browse() if way == "websocket" else door.plug())
        await peer.send(*({"operacion": what, "msg": text, "id": id_} for what, text, id_ in texts))
        heard = [(await peer.hear())["id"] for _ in texts]
    assert heard == [id_ for _, _, id_ in texts]


async def test_ids_that_do_not_fit_are_refused_and_none_is_forgotten(serve: Serve) -> None:
    """In a small memory: what was accepted stays known for ``dedup-s``, and the rest is told when to come again."""
    door = await serve(max_memory=1_000_000, history_messages=10)
    ana, bob = await door.connect("ana"), await door.connect("bob")
    batch = [pb.ConnectRequest(msg="x", id=str(number)) for number in range(2000)]
    await ana.send(pb.ConnectRequest(batch=batch))
    answers = [await ana.hear() for _ in batch]
    assert [answer.id for answer in answers] == [request.id for request in batch]
    refused = [answer for answer in answers if answer.kind == pb.EVENT_KIND_ERROR]
    assert 100 < len(refused) < 1000
    assert {(answer.error.code, answer.error.retryable) for answer in refused} == {(pb.ERROR_CODE_RATE_LIMITED, True)}
    assert all(0 < answer.error.retry_after.seconds <= 120 for answer in refused)
    await ana.say("x", id="0")
    assert (await ana.hear()).ack.duplicate
    await ana.say("without an id")
    assert len(await bob.hear_until("ana: without an id")) == 2000 - len(refused)
