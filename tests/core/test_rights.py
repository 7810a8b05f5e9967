"""What clients may do, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest

from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.memory import MemoryBroker
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.identity import ALL_RIGHTS, NO_RIGHTS, Caller, Identity, Rights
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.core.review import review
from bcast_grpc.core.session import Session
from bcast_grpc.errors import CallError, ErrorCode, RequestError
from bcast_grpc.events import Ack, Error, Event, Gap, GapReason, Kind, Request, ResumePoint

from .world import ALL, World, admit

KEPT = Retention(messages=100, bytes=100_000, age_s=3600, dedup_s=0)
EXPIRING = ALL | {Kind.EXPIRING}


class Desk:
    """A gatekeeper that knows its tokens by heart. The rights of each may be changed."""

    def __init__(self) -> None:
        self.rights: dict[str, Rights] = {}
        self.identities: dict[str, Identity] = {}

    def know(self, token: str, rights: Rights = ALL_RIGHTS, **identity: object) -> None:
        """Take a token from now on."""
        self.rights[token] = rights
        known = Identity(subject=token, grants=lambda _: self.rights[token])
        self.identities[token] = replace(known, **identity)  # type: ignore[arg-type]

    async def identify(self, caller: Caller) -> Identity:
        """Return whose token it is."""
        if not caller.token:
            return Identity(grants=lambda _: self.rights.get("", NO_RIGHTS), token_helps=True)
        if caller.token not in self.identities:
            raise CallError(ErrorCode.UNAUTHENTICATED, "no such token")
        return self.identities[caller.token]


@pytest.fixture
def desk() -> Desk:
    """It knows ``all``, who may do everything."""
    desk = Desk()
    desk.know("all")
    return desk


@pytest.fixture
def world(desk: Desk) -> World:
    """Its rooms keep messages."""
    return World(broker=MemoryBroker(KEPT), gatekeeper=desk)


def refusal(act: Callable[[], object]) -> tuple[ErrorCode, str]:
    """Return what is raised."""
    with pytest.raises(CallError) as raised:
        act()
    return raised.value.code, raised.value.reason


def let_pass(world: World, seconds: float = 0.5) -> None:
    """Let time pass, everyone reading as fast as it is written to."""
    for _ in range(10):
        world.scheduler.advance(seconds / 10)
        for client in world.clients:
            client.write_all()


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
