"""What a message may hold, who gets it, and how fast a client may send."""

from __future__ import annotations

import pytest

from bcast_grpc.core.hello import Hello
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.errors import ErrorCode, RequestError
from bcast_grpc.events import Ack, Error, Kind, Request

from .world import Client, World, admit


def codes(client: Client) -> list[tuple[str, ErrorCode]]:
    """The id and the code of each ERROR that came."""
    return [(event.id, event.detail.code) for event in client.new() if isinstance(event.detail, Error)]


@pytest.mark.parametrize("operacion", ["", "broadcast"])
def test_a_broadcast_reaches_the_others(world: World, operacion: str) -> None:
    """What a client sends, every other client receives, as it was sent."""
    ana, bob, eva = world.join("ana"), world.join(), world.join()
    ana.ask(Request(operacion, "hola", b"\x00data"))
    world.settle()
    (event,) = bob.new()
    assert (event.kind, event.message, event.text, event.data) == (Kind.MESSAGE, "ana: hola", "hola", b"\x00data")
    assert (event.sender, event.session, event.seq, event.id) == ("ana", ana.session.id, 1, "")
    assert event.time_ns > 0
    assert eva.new() == [event]
    assert ana.new() == []


def test_an_author_without_a_name_is_relayed_verbatim(world: World) -> None:
    """Where there is no name, nothing is put before the text."""
    author, bob = world.join(), world.join()
    author.say("ana: hola")
    world.settle()
    assert [(event.message, event.sender) for event in bob.new()] == [("ana: hola", "")]


def test_a_payload_needs_no_text(world: World) -> None:
    """A broadcast of bytes alone is a message; a named author's reads ``name: ``."""
    ana, nobody, bob = world.join("ana"), world.join(), world.join()
    ana.ask(Request(data=b"1"))
    nobody.ask(Request(data=b"2"))
    world.settle()
    assert [(event.message, event.data) for event in bob.new()] == [("ana: ", b"1"), ("", b"2")]


def test_an_id_is_acknowledged(world: World) -> None:
    """One ACK answers it, with the message's place, the epoch, and how many others it is queued for."""
    ana = world.join("ana", echo=True)
    world.join()
    world.join(reader=True)
    ana.ask(Request(msg="hola", id="x"))
    world.settle()
    echo, ack = ana.new()
    assert (ack.kind, ack.id, ack.message, ack.seq) == (Kind.ACK, "x", "sent to 2", 0)
    assert ack.detail == Ack(1, ana.session.epoch, False, 2, 0)
    assert ack.time_ns == echo.time_ns


def test_without_an_id_nothing_is_acknowledged(world: World) -> None:
    """Who gives no id is told of faults only."""
    ana = world.join("ana")
    ana.ask(Request(msg="hola"), Request("join", "eva"))
    world.settle()
    assert ana.new() == []


@pytest.mark.parametrize("operacion", ["", "broadcast"])
def test_an_empty_broadcast_is_an_error(world: World, operacion: str) -> None:
    """Neither text nor payload: EMPTY_MESSAGE, and the stream goes on."""
    ana = world.join()
    ana.ask(Request(operacion, id="x"))
    world.settle()
    (event,) = ana.new()
    assert (event.kind, event.id, event.message) == (Kind.ERROR, "x", "a broadcast needs msg or data")
    assert event.detail == Error(ErrorCode.EMPTY_MESSAGE, "a broadcast needs msg or data")
    assert not ana.closed


def test_text_and_payload_count_together(world: World) -> None:
    """A message of exactly ``max_message_bytes`` of UTF-8 passes, one byte more is MESSAGE_TOO_LARGE."""
    ana, bob = world.join(), world.join()
    ana.ask(Request(msg="ñ" * 30_000, data=bytes(5536)))
    ana.ask(Request(msg="ñ" * 30_000, data=bytes(5537), id="x"))
    world.settle()
    assert len(bob.new()) == 1
    (event,) = ana.new()
    assert event.message == "msg and data together are 65537 bytes; the limit is 65536"
    assert isinstance(event.detail, Error)
    assert event.detail.code is ErrorCode.MESSAGE_TOO_LARGE


def test_a_client_over_its_rate_is_told_when_to_come_back() -> None:
    """RATE_LIMITED says how long to wait, costs nothing, and after that wait the message passes."""
    world = World(Limits(rate=4, burst=2))
    world.scheduler.now = 1000.0
    ana = world.join("ana")
    ana.ask(*(Request(msg="hola", id=str(number)) for number in range(3)))
    world.settle()
    answers = dict(ana.answers())
    error = answers["2"]
    assert error == Error(ErrorCode.RATE_LIMITED, "the limit is 4 messages a second; try again in 0.250 s", True, 0.25)
    assert [id_ for id_, answer in answers.items() if isinstance(answer, Ack)] == ["0", "1"]
    world.scheduler.advance(0.25)
    ana.ask(Request(msg="hola", id="3"))
    world.settle()
    assert [(id_, type(answer)) for id_, answer in ana.answers()] == [("3", Ack)]


def test_each_client_has_a_rate_of_its_own() -> None:
    """One client's messages do not count against another; faults do not count at all."""
    world = World(Limits(rate=1, burst=1))
    world.scheduler.now = 1000.0
    ana, bob = world.join(), world.join()
    ana.ask(Request(id="empty"), Request(msg="x", id="x" * 129), Request(msg="x"))
    bob.ask(Request(msg="x"))
    world.settle()
    assert [code for _, code in codes(ana)] == [ErrorCode.EMPTY_MESSAGE, ErrorCode.MALFORMED]
    assert codes(bob) == []


def test_a_stable_id_has_one_rate_over_all_its_calls() -> None:
    """Who connects anew under its ``bcast-client``, or publishes with it, does not start with a new bucket."""
    world = World(Limits(rate=1, burst=1))
    world.scheduler.now = 1000.0
    world.join(client="c").say("x")
    again = world.join(client="c")
    again.ask(Request(msg="x", id="x"))
    world.settle()
    assert codes(again) == [("x", ErrorCode.RATE_LIMITED)]
    publisher = Publisher(admit(world.hub, Hello(client="c"), "somewhere"), answer=lambda _: None)
    with pytest.raises(RequestError, match="RATE_LIMITED"):
        publisher.publish(Request(msg="x"))


def test_an_id_that_is_too_long_is_malformed(world: World) -> None:
    """An id has at most 128 bytes of UTF-8, on every operation."""
    ana = world.join()
    for operacion in ("", "join", "who", "leave", "nonsense"):
        ana.ask(Request(operacion, "x", id="ñ" * 65))
    world.settle()
    assert [code for _, code in codes(ana)] == [ErrorCode.MALFORMED] * 5
    ana.ask(Request(msg="x", id="ñ" * 64))
    world.settle()
    assert [event.kind for event in ana.new()] == [Kind.ACK]
