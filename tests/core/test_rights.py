"""What clients may do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest

from bcast_grpc.broker.memory import MemoryBroker
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.identity import ALL_RIGHTS, NO_RIGHTS, Rights
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.core.review import review
from bcast_grpc.core.session import Session
from bcast_grpc.errors import CallError, ErrorCode, RequestError
from bcast_grpc.events import Ack, Error, Event, Gap, GapReason, Kind, Request, ResumePoint

from .guarded import KEPT, Desk
from .world import ALL, World, admit

EXPIRING = ALL | {Kind.EXPIRING}


@pytest.fixture
def world(desk: Desk) -> World:
    """Its rooms keep messages."""
    return World(broker=MemoryBroker(KEPT), gatekeeper=desk)


def refusal(act: Callable[[], object]) -> tuple[ErrorCode, str]:
    """Return what is raised."""
    with pytest.raises(CallError) as raised:
        act()
    return raised.value.code, raised.value.reason


def codes(events: list[Event]) -> list[ErrorCode]:
    """Return the codes of the errors among events."""
    return [event.detail.code for event in events if isinstance(event.detail, Error)]


@pytest.mark.parametrize("rights", [Rights(*some) for some in product([False, True], repeat=4)], ids=str)
def test_each_right_is_for_its_operations_alone(world: World, desk: Desk, rights: Rights) -> None:
    """Of the sixteen combinations, each lets a client do what it says, and nothing else."""
    desk.know("some", rights)
    watcher = world.join("ana", token="all")
    watcher.say("before")
    world.settle()

    publisher = "published"
    try:
        Publisher(admit(world.hub, Hello(), token="some", publishing=True), answer=lambda _: None)
    except CallError as error:
        publisher = error.code.name
    assert publisher == ("published" if rights.send else "PERMISSION_DENIED")

    if not rights.join:
        assert refusal(lambda: world.join(token="some"))[0] is ErrorCode.PERMISSION_DENIED
        return
    if not rights.history:
        assert refusal(lambda: world.join(token="some", history=1))[0] is ErrorCode.PERMISSION_DENIED
    client = world.join("bob", token="some", kinds=ALL, history=1 if rights.history else 0)
    client.ask(Request(msg="hola", id="1"), Request("who", id="2"))
    world.join("eva", token="all").close()
    watcher.say("after")
    world.settle()
    got = client.new()
    answers = {event.id: event.detail for event in got if event.id}
    assert isinstance(answers["1"], Ack if rights.send else Error)
    assert (Kind.MEMBERS in {event.kind for event in got}) is rights.who
    assert ([event.message for event in got if event.kind in (Kind.JOINED, Kind.LEFT)] != []) is rights.who
    heard = [event.message for event in got if event.kind is Kind.MESSAGE]
    assert heard == (["ana: before"] if rights.history else []) + ["ana: after"]


def test_a_token_is_asked_for_where_it_would_help(world: World, desk: Desk) -> None:
    """Whoever has presented one already is told which right is missing; neither learns whether the room exists."""
    desk.know("none", NO_RIGHTS)
    for room in ("lobby", "no such room"):
        assert refusal(lambda room=room: world.join(room=room))[0] is ErrorCode.UNAUTHENTICATED  # type: ignore[misc]
        code, reason = refusal(lambda room=room: world.join(room=room, token="none"))  # type: ignore[misc]
        assert (code, reason) == (
            ErrorCode.PERMISSION_DENIED,
            "not allowed to join here (the right `join` is not granted)",
        )
    assert (world.hub.clients, list(world.hub.rooms)) == (0, [])


def test_ids_of_two_subjects_do_not_meet(world: World, desk: Desk) -> None:
    """Neither throws the other out, takes its messages for its own, or answers its retries."""
    for subject in ("ana", "bob", ":x"):
        desk.know(subject)
    ana, bob, odd = (world.join(token=subject, client="phone") for subject in ("ana", "bob", ":x"))
    ana.say("hola")
    world.settle()
    assert [bob.texts(), odd.texts()] == [["hola"], ["hola"]]
    assert not ana.closed
    again = world.join(token="ana", client="phone")
    world.settle()
    assert ana.error
    assert ana.error.code is ErrorCode.REPLACED
    assert (again.error, bob.error, odd.error) == (None, None, None)


def test_a_name_in_the_token_is_the_only_one(world: World, desk: Desk) -> None:
    """Whoever gives none gets it; another one is refused, in metadata and in ``join``."""
    desk.know("ana", name="Ana")
    watcher = world.join(token="all", kinds=ALL)
    ana = world.join(token="ana")
    world.settle()
    assert watcher.texts()[-1] == "Ana joined"
    assert refusal(lambda: world.join("Eva", token="ana"))[0] is ErrorCode.PERMISSION_DENIED
    ana.ask(Request("join", "Eva", id="1"), Request("join", "Ana", id="2"))
    world.settle()
    denied, accepted = ana.answers()
    assert isinstance(denied[1], Error)
    assert denied[1].code is ErrorCode.PERMISSION_DENIED
    assert isinstance(accepted[1], Ack)


def test_all_streams_of_a_subject_have_one_rate(desk: Desk) -> None:
    """However many ids it gives itself."""
    world = World(Limits(rate=1, burst=2), gatekeeper=desk)
    first, second = (world.join(token="all", client=own) for own in ("a", "b"))
    for client in (first, second, first):
        client.ask(Request(msg="x", id="1"))
    world.settle()
    assert codes(first.new()) == [ErrorCode.RATE_LIMITED]
    assert codes(second.new()) == []


@pytest.mark.parametrize(
    ("after", "gap"),
    [
        (lambda epoch: ResumePoint(epoch, 1), Gap(2, 3, GapReason.NOT_ALLOWED)),
        (lambda epoch: ResumePoint(epoch, 3), None),
        (lambda epoch: ResumePoint(epoch, 9), Gap(1, 3, GapReason.NOT_ALLOWED)),
        (lambda _: ResumePoint("another", 7), Gap(1, 3, GapReason.NOT_ALLOWED)),
    ],
)
def test_whoever_may_not_read_history_goes_on_at_the_head(
    world: World, desk: Desk, after: Callable[[str], ResumePoint], gap: Gap | None
) -> None:
    """And hears of the gap, where there is one, so that a library that reconnects goes on."""
    desk.know("live", Rights(join=True))
    ana = world.join("ana", token="all")
    ana.say("1", "2", "3")
    world.settle()
    client = world.join(token="live", after=after(ana.session.epoch))
    ana.say("4")
    world.settle()
    got = client.new()
    assert [event.detail for event in got if event.kind is Kind.GAP] == ([gap] if gap else [])
    assert [event.seq for event in got if event.kind is Kind.MESSAGE] == [4]


def test_revoked_rights_are_gone_at_once(world: World, desk: Desk) -> None:
    """From running streams: what was queued for a client that may not be here any more is not sent."""
    desk.know("bob")
    ana, bob = world.join("ana", token="all"), world.join("bob", token="bob", kinds=ALL)
    world.settle()
    bob.new()
    desk.rights["bob"] = Rights(join=True)
    world.hub.for_each_room(review)
    world.join("eva", token="all")
    bob.ask(Request(msg="x", id="1"), Request("who", id="2"))
    world.settle()
    got = bob.new()
    assert codes(got) == [ErrorCode.PERMISSION_DENIED] * 2
    assert not [event for event in got if event.kind in (Kind.JOINED, Kind.LEFT, Kind.MEMBERS)]

    desk.rights["bob"] = ALL_RIGHTS
    world.hub.for_each_room(review)
    world.join("leo", token="all")
    world.settle()
    assert "leo joined" in bob.texts()

    ana.say("secret")
    world.scheduler.run_soon()
    desk.rights["bob"] = NO_RIGHTS
    world.hub.for_each_room(review)
    world.settle()
    assert bob.texts() == []
    assert bob.error
    assert bob.error.code is ErrorCode.PERMISSION_DENIED
    assert ana.error is None


def test_whoever_loses_the_history_while_it_reads_it_hears_of_a_gap(world: World, desk: Desk) -> None:
    """It stays, and gets what is said from then on."""
    desk.know("bob")
    ana = world.join("ana", token="all")
    ana.say(*map(str, range(100)))
    world.settle()
    bob = world.join(token="bob", history=100)
    desk.rights["bob"] = Rights(join=True)
    world.hub.for_each_room(review)
    ana.say("now")
    world.settle()
    got = bob.new()
    assert [event.detail for event in got if event.kind is Kind.GAP] == [Gap(1, 100, GapReason.NOT_ALLOWED)]
    assert [event.message for event in got if event.kind is Kind.MESSAGE] == ["ana: now"]


@pytest.mark.parametrize("written", [1, 10, 255, 256, 257, 300, 599])
def test_whoever_loses_the_history_while_it_is_written_misses_nothing_in_silence(desk: Desk, written: int) -> None:
    """What was read for it and not written yet is not written, and the gap says so."""
    world = World(broker=MemoryBroker(replace(KEPT, messages=1000)), gatekeeper=desk)
    desk.know("bob")
    ana = world.join("ana", token="all")
    ana.say(*map(str, range(600)))
    world.settle()
    bob = world.join(token="bob", history=600, batch=False)
    for _ in range(written):
        bob.write()
    desk.rights["bob"] = Rights(join=True)
    world.hub.for_each_room(review)
    ana.say("now")
    world.settle()
    got = bob.new()
    assert [event.seq for event in got if event.kind is Kind.MESSAGE] == [*range(1, written + 1), 601]
    assert [event.detail for event in got if event.kind is Kind.GAP] == [Gap(written + 1, 600, GapReason.NOT_ALLOWED)]


def test_rights_that_are_lost_on_the_way_in_are_not_had(world: World, desk: Desk) -> None:
    """A reload may come between the admission and the arrival, of a stream as of a single message."""
    desk.know("bob")
    stream = admit(world.hub, Hello(), token="bob")
    single = admit(world.hub, Hello(), token="bob", publishing=True)
    desk.rights["bob"] = NO_RIGHTS
    session = Session(stream, world.batches.encoder, wake=lambda: None)
    assert session.outbox.error
    assert session.outbox.error.code is ErrorCode.PERMISSION_DENIED
    publisher = Publisher(single, answer=lambda _: None)
    with pytest.raises(RequestError, match="send"):
        publisher.publish(Request(msg="x"))
    session.close()
    publisher.close()
    assert (world.hub.clients, world.hub.rooms) == (0, [])
