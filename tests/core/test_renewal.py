"""How long a client may do what it may: tokens expire, and are renewed on the stream."""

from __future__ import annotations

import time

import pytest

from bcast_grpc.broker.memory import MemoryBroker
from bcast_grpc.core.identity import NO_RIGHTS, Rights
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.review import review
from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import Ack, Error, Kind, Request

from .guarded import KEPT, Desk, let_pass
from .world import ALL, World

EXPIRING = ALL | {Kind.EXPIRING}


@pytest.fixture
def world(desk: Desk) -> World:
    """Its rooms keep messages."""
    return World(broker=MemoryBroker(KEPT), gatekeeper=desk)


def test_a_stream_ends_when_its_token_expires(world: World, desk: Desk) -> None:
    """Sharp, after a warning 30 s before for those who asked for it, and after what is queued."""
    for token in ("ana", "bob"):
        desk.know(token, expires_at=100.0)
    ana, bob = world.join("ana", token="ana", kinds=EXPIRING), world.join("bob", token="bob")
    let_pass(world, 69.9)
    assert not [event for event in ana.new() if event.kind is Kind.EXPIRING]
    let_pass(world, 0.2)
    assert [event.kind for event in ana.new()] == [Kind.EXPIRING]
    bob.new()
    let_pass(world, 29.8)
    ana.say("last")
    assert (ana.error, bob.error) == (None, None)
    let_pass(world, 0.2)
    assert bob.texts()[-1:] == ["ana: last"]
    for client in (ana, bob):
        assert client.error
        assert client.error.code is ErrorCode.TOKEN_EXPIRED
    world.settle()
    assert (world.hub.clients, world.scheduler.scheduled) == (0, [])


def test_a_token_expires_by_the_time_of_day(world: World, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the machine was suspended, or its clock set forward; one that is set back changes nothing."""
    for token, expires_at in (("ana", 1000.0), ("bob", 100.0)):
        desk.know(token, expires_at=expires_at)
    now, clock = time.time(), time.time
    ana, bob = world.join("ana", token="ana", kinds=EXPIRING), world.join("bob", token="bob")
    monkeypatch.setattr("bcast_grpc.core.lease.time.time", lambda: now - 5000)
    let_pass(world, 99)
    assert (ana.error, bob.error) == (None, None)
    let_pass(world, 2)
    assert bob.error
    monkeypatch.setattr("bcast_grpc.core.lease.time.time", lambda: clock() + 985)
    let_pass(world, 30)
    assert [event.kind for event in ana.new()][-1] is Kind.EXPIRING
    monkeypatch.setattr("bcast_grpc.core.lease.time.time", lambda: clock() + 5000)
    let_pass(world, 30)
    assert ana.error
    assert ana.error.code is ErrorCode.TOKEN_EXPIRED


def test_whoever_has_expired_asks_for_nothing_more(world: World, desk: Desk) -> None:
    """A client that reads slowly gets what is queued for it, however long that takes, but says nothing meanwhile."""
    desk.know("ana", expires_at=100.0)
    ana, bob = world.join("ana", token="ana"), world.join("bob", token="all", kinds=ALL)
    let_pass(world)
    bob.new()
    bob.say("queued")
    for seconds in (100, 1):
        world.scheduler.advance(seconds)
        ana.ask(Request(msg="too late", id="1"), Request("join", "eva", id="2"), Request("who", id="3"))
        ana.ask(Request("auth", "ana", id="4"))
    bob.write_all()
    assert bob.texts() == []
    assert ana.error
    assert ana.error.code is ErrorCode.TOKEN_EXPIRED
    world.settle()
    assert ana.texts()[-1:] == ["bob: queued"]


def test_whoever_may_not_be_here_any_more_takes_no_name(world: World, desk: Desk) -> None:
    """Between the loss of the right and the end of its call nothing is carried out."""
    desk.know("bob")
    ana, bob = world.join("ana", token="all", kinds=ALL), world.join("bob", token="bob")
    world.settle()
    ana.new()
    desk.rights["bob"] = NO_RIGHTS
    world.hub.for_each_room(review)
    bob.ask(Request("join", "ana's boss"))
    world.settle()
    assert ana.texts() == ["bob left"]


def test_a_new_token_renews_a_running_stream(world: World, desk: Desk) -> None:
    """Its rights hold at once, what follows in the same frame waits for them, and the old end is forgotten."""
    desk.know("old", Rights(join=True), subject="ana", expires_at=10.0)
    desk.know("new", Rights(join=True, send=True), subject="ana", expires_at=100.0, name="Ana")
    desk.know("bob", subject="bob")
    world.join(token="all")
    ana = world.join(token="old")
    ana.ask(Request(msg="too early", id="1"), Request("auth", "new", id="2"))
    let_pass(world)
    ana.ask(Request(msg="hola", id="3"), Request("auth", "bob", id="4"))
    let_pass(world)
    ana.ask(Request("auth", "nonsense", id="5"))
    let_pass(world)
    answers = dict(ana.answers())
    assert {id_: getattr(detail, "code", None) for id_, detail in answers.items()} == {
        "1": ErrorCode.PERMISSION_DENIED,
        "2": None,
        "3": None,
        "4": ErrorCode.PERMISSION_DENIED,
        "5": ErrorCode.UNAUTHENTICATED,
    }
    assert world.hub.members("lobby")[-1].name == "Ana"
    let_pass(world, 50)
    assert ana.error is None
    let_pass(world, 50)
    assert ana.error
    assert ana.error.code is ErrorCode.TOKEN_EXPIRED


def test_a_client_that_leaves_while_its_token_is_verified_leaves_nothing(world: World, desk: Desk) -> None:
    """The answer finds nobody."""
    desk.know("ana", expires_at=100.0)
    ana = world.join(token="ana")
    ana.ask(Request("auth", "ana", id="1"))
    assert ana.session.congested
    ana.close()
    world.settle()
    assert (world.hub.clients, world.scheduler.scheduled) == (0, [])


def test_a_gatekeeper_that_fails_ends_nobody(world: World, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """The client hears that it was the server's fault, and goes on."""
    ana = world.join(token="all")
    desk.identities["broken"] = None  # type: ignore[assignment]
    ana.ask(Request("auth", "broken", id="1"))
    let_pass(world)
    ana.ask(Request(msg="x", id="2"))
    world.settle()
    answers = dict(ana.answers())
    assert isinstance(answers["1"], Error)
    assert answers["1"].code is ErrorCode.INTERNAL
    assert isinstance(answers["2"], Ack)
    assert "internal error" in caplog.text


def test_an_anonymous_client_may_show_who_it_is(desk: Desk) -> None:
    """From then on it has the rights and the rate of the subject."""
    world = World(Limits(rate=1, burst=1), gatekeeper=desk)
    desk.rights[""] = Rights(join=True)
    desk.know("ana")
    first, second = world.join(token="ana"), world.join()
    first.say("x")
    second.ask(Request(msg="x", id="1"), Request("auth", "ana", id="2"))
    let_pass(world, 0.01)
    second.ask(Request(msg="x", id="3"))
    let_pass(world, 0.01)
    codes_of = {id_: getattr(detail, "code", None) for id_, detail in second.answers()}
    assert codes_of == {"1": ErrorCode.PERMISSION_DENIED, "2": None, "3": ErrorCode.RATE_LIMITED}


def test_renewals_have_a_rate_of_their_own(desk: Desk) -> None:
    """Verifying tokens takes time. But who sends as much as it may can renew its token all the same."""
    world = World(Limits(rate=1, burst=2), gatekeeper=desk)
    ana = world.join(token="all")
    ana.ask(*(Request(msg="x") for _ in range(3)), *(Request("auth", "all", id=f"{n}") for n in range(3)))
    let_pass(world, 0.01)
    codes_of = {id_: getattr(detail, "code", None) for id_, detail in ana.answers()}
    assert codes_of == {"": ErrorCode.RATE_LIMITED, "0": None, "1": None, "2": ErrorCode.RATE_LIMITED}


def test_an_id_of_the_anonymous_is_none_of_a_subject(world: World, desk: Desk) -> None:
    """Anyone may say it, so whoever has one stays anonymous: nobody without a token takes a subject's place."""
    desk.rights[""] = Rights(join=True)
    desk.know("ana")
    client = world.join(client="phone")
    client.ask(Request("auth", "ana", id="1"), Request("auth", "", id="2"))
    let_pass(world)
    codes_of = {id_: getattr(detail, "code", None) for id_, detail in client.answers()}
    assert codes_of == {"1": ErrorCode.PERMISSION_DENIED, "2": None}
    assert world.join(client="phone", token="ana").error is None
    assert client.error is None
