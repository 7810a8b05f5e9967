"""Faults of one request: an ERROR event, or a status of Publish; the stream goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from bcast_grpc.v1 import chat_pb2 as pb

from .conftest import LocalDoor, Serve
from .endings import check, check_goes_on
from .peers import Ending, within

EVENT_ERRORS = [
    pytest.param(pb.ConnectRequest(), pb.ERROR_CODE_EMPTY_MESSAGE, id="empty"),
    pytest.param(pb.ConnectRequest(msg="x" * 65_537), pb.ERROR_CODE_MESSAGE_TOO_LARGE, id="large text"),
    pytest.param(pb.ConnectRequest(msg="é" * 32_769), pb.ERROR_CODE_MESSAGE_TOO_LARGE, id="large in bytes"),
    pytest.param(pb.ConnectRequest(msg="x", data=bytes(65_536)), pb.ERROR_CODE_MESSAGE_TOO_LARGE, id="large together"),
    pytest.param(pb.ConnectRequest(operacion="dance"), pb.ERROR_CODE_UNKNOWN_OPERATION, id="unknown operation"),
    pytest.param(pb.ConnectRequest(operacion="WHO"), pb.ERROR_CODE_UNKNOWN_OPERATION, id="capital letters"),
    pytest.param(pb.ConnectRequest(operacion="x" * 9999), pb.ERROR_CODE_UNKNOWN_OPERATION, id="long operation"),
    pytest.param(pb.ConnectRequest(operacion="join"), pb.ERROR_CODE_NAME_INVALID, id="join with no name"),
    pytest.param(pb.ConnectRequest(operacion="join", msg="x" * 65), pb.ERROR_CODE_NAME_INVALID, id="long name"),
    pytest.param(pb.ConnectRequest(operacion="join", msg="a\nb"), pb.ERROR_CODE_NAME_INVALID, id="line break in name"),
    pytest.param(pb.ConnectRequest(operacion="join", msg="\x1b[2J"), pb.ERROR_CODE_NAME_INVALID, id="escape in name"),
    pytest.param(pb.ConnectRequest(operacion="join", msg="\x85"), pb.ERROR_CODE_NAME_INVALID, id="C1 in name"),
    pytest.param(pb.ConnectRequest(operacion="join", msg=" "), pb.ERROR_CODE_NAME_INVALID, id="blank name"),
    pytest.param(pb.ConnectRequest(operacion="join", msg="\ufeff"), pb.ERROR_CODE_NAME_INVALID, id="invisible name"),
    pytest.param(pb.ConnectRequest(operacion="join", msg="a\u202e"), pb.ERROR_CODE_NAME_INVALID, id="override in name"),
    pytest.param(pb.ConnectRequest(msg="hola", id="x" * 129), pb.ERROR_CODE_MALFORMED, id="long id"),
    pytest.param(pb.ConnectRequest(operacion="who", id="é" * 65), pb.ERROR_CODE_MALFORMED, id="long id in bytes"),
]


@pytest.mark.parametrize(("request_", "code"), EVENT_ERRORS)
async def test_a_fault_of_a_request(door: LocalDoor, request_: pb.ConnectRequest, code: pb.ErrorCode) -> None:
    """A bad request is answered by an ERROR that says what is wrong; nobody else notices, and the stream goes on."""
    ana, bob = await door.connect("ana"), await door.connect(events="all")
    await bob.hear()
    request = pb.ConnectRequest(id="1")
    request.MergeFrom(request_)
    await ana.send(request)
    event = await ana.hear()
    assert (event.kind, event.id) == (pb.EVENT_KIND_ERROR, request.id)
    assert event.error == pb.Error(code=code, reason=event.error.reason)  # not retryable, so no time to wait
    assert event.error.reason
    assert event.message
    assert event.time.seconds > 0
    await check_goes_on(ana, bob)


async def test_a_fault_without_id(door: LocalDoor) -> None:
    """A bad request without ``id`` is answered too."""
    ana = await door.connect()
    await ana.say()
    event = await ana.hear()
    assert (event.error.code, event.id) == (pb.ERROR_CODE_EMPTY_MESSAGE, "")


async def test_a_nested_batch(door: LocalDoor) -> None:
    """A batch within a batch is MALFORMED, as an event, and its neighbours are carried out."""
    ana, bob = await door.connect(), await door.connect()
    nested = pb.ConnectRequest(id="2", batch=[pb.ConnectRequest(msg="nested", id="3")])
    before, after = pb.ConnectRequest(msg="before", id="1"), pb.ConnectRequest(msg="after", id="4")
    await ana.send(pb.ConnectRequest(batch=[before, nested, after]))
    answers = {event.id: event for event in await ana.hear_some(3)}
    assert set(answers) == {"1", "2", "4"}
    assert answers["2"].error.code == pb.ERROR_CODE_MALFORMED
    assert [event.message for event in await bob.hear_some(2)] == ["before", "after"]


async def test_up_to_the_limits(door: LocalDoor) -> None:
    """What is exactly as long as allowed is taken."""
    name, room, client = "é" * 64, "é" * 128, "é" * 64
    ana, bob = await door.connect(name, room=room, client=client), await door.connect(room=room)
    await ana.send(pb.ConnectRequest(msg="é" * 16_384, data=bytes(32_768), id="é" * 64))
    assert (await ana.hear()).kind == pb.EVENT_KIND_ACK
    assert (await bob.hear()).message == f"{name}: {'é' * 16_384}"
    await bob.ask("join", name, id="1")
    assert (await bob.hear()).kind == pb.EVENT_KIND_ACK


@pytest.mark.parametrize("msg", ["\x1b[2J", "\0", "a\r\nb"])
async def test_control_characters_in_text(door: LocalDoor, msg: str) -> None:
    """Texts are relayed as they are: only names and rooms take no control characters."""
    ana, bob = await door.connect(), await door.connect()
    await ana.say(msg)
    assert (await bob.hear()).message == msg


async def test_rate_limited(serve: Serve) -> None:
    """A client that sends too often gets an error that says how long to wait; after that it may go on."""
    door = await serve(rate=5, burst=2)
    ana, bob = await door.connect(), await door.connect()
    await ana.send(pb.ConnectRequest(batch=[pb.ConnectRequest(msg="hola", id=f"{n}") for n in range(3)]))
    answers = {event.id: event for event in await ana.hear_some(3)}
    assert {id_: event.kind for id_, event in answers.items() if id_ != "2"} == {
        "0": pb.EVENT_KIND_ACK,
        "1": pb.EVENT_KIND_ACK,
    }
    error = answers["2"].error
    assert (error.code, error.retryable) == (pb.ERROR_CODE_RATE_LIMITED, True)
    wait_s = error.retry_after.ToTimedelta().total_seconds()
    assert 0 < wait_s <= 1 / 5
    await asyncio.sleep(wait_s)  # as the server asks for
    await bob.hear_some(2)
    await check_goes_on(ana, bob)


async def test_the_rate_is_each_clients_own(serve: Serve) -> None:
    """Who sends too often is no burden on others; ``join`` and ``who`` count as a message does, ``leave`` does not."""
    door = await serve(rate=0.001, burst=1)
    ana, bob = await door.connect(), await door.connect()
    await ana.say("hola", id="1")
    await ana.say("hola", id="2")
    assert {(await ana.hear()).kind for _ in range(2)} == {pb.EVENT_KIND_ACK, pb.EVENT_KIND_ERROR}
    for operation in ("who", "join"):
        await ana.ask(operation, "Ana", id=operation)
        assert (await ana.answer(operation)).error.code == pb.ERROR_CODE_RATE_LIMITED
    await bob.say("ciao", id="1")
    assert (await bob.answer("1")).kind == pb.EVENT_KIND_ACK
    await ana.ask("leave", id="4")
    assert (await ana.answer("4")).kind == pb.EVENT_KIND_ACK


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "EMPTY_MESSAGE"),
        ({"msg": "x" * 65_537}, "MESSAGE_TOO_LARGE"),
        ({"msg": "hola", "id": "x" * 129}, "MALFORMED"),
    ],
)
async def test_a_fault_of_publish(door: LocalDoor, fields: dict[str, Any], reason: str) -> None:
    """What is an ERROR event on a stream is INVALID_ARGUMENT for ``Publish``."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await within(door.stub().Publish(pb.PublishRequest(**fields)))
    check(Ending.of(raised.value), StatusCode.INVALID_ARGUMENT, reason)


async def test_publish_rate_limited(serve: Serve) -> None:
    """``Publish`` too often is RESOURCE_EXHAUSTED, with the time to wait; a ``bcast-client`` has one rate for all."""
    door = await serve(rate=0.01, burst=1)
    stream = await door.connect(client="c1")
    await door.publish("hola", client="c1")
    ending = await door.publish_in_vain("hola", client="c1")
    check(ending, StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", retryable=True)
    assert 0 < ending.retry_after_s <= 100
    await stream.say("hola", id="1")
    assert (await stream.answer("1")).error.code == pb.ERROR_CODE_RATE_LIMITED
    await door.publish("hola", client="c2")
