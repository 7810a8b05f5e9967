"""A room's order that begins anew while clients are connected: through every door, and with the client library."""

from __future__ import annotations

import bcast_grpc
from bcast_grpc import Gap, GapReason, Kind
from bcast_grpc.v1 import chat_pb2 as pb
from tests import engine
from tests.anew import begin_anew

from .conftest import LocalDoor
from .peers import eventually, within

ANEW = Gap(0, 0, GapReason.NEW_EPOCH)


async def test_through_grpc(doors: LocalDoor) -> None:
    """The ``GAP`` comes behind the old order's messages, and acks after it have the new epoch."""
    ana, bob = await doors.connect("ana"), await doors.connect("bob")
    await ana.say("old", id="1")
    assert (await ana.answer("1")).ack.epoch == ana.epoch
    epoch = begin_anew(doors.server.hub, kept=1)
    await ana.say("new", id="2")
    ack = (await ana.answer("2")).ack
    assert (ack.seq, ack.epoch) == (2, epoch)
    old, gap, kept, new = await bob.hear_some(4)
    assert [old.message, kept.message, new.message] == ["ana: old", "eva: 1", "ana: new"]
    assert (gap.kind, gap.gap.reason) == (pb.EVENT_KIND_GAP, pb.GAP_REASON_NEW_EPOCH)
    assert [kept.seq, new.seq] == [1, 2]


async def test_through_websocket_and_tcp(doors: LocalDoor) -> None:
    """As JSON; a client that wants ``WELCOME`` gets another one, with the new epoch."""
    page, plain = await doors.browse("?events=welcome"), await doors.plug()
    await eventually(lambda: doors.server.hub.clients == 2)
    welcome = await page.hear()
    epoch = begin_anew(doors.server.hub)
    assert welcome["welcome"]["epoch"] != epoch
    again = await page.hear()
    assert again["welcome"]["epoch"] == epoch
    assert again["welcome"]["session"] == welcome["welcome"]["session"]
    for client in (page, plain):
        gap = await client.hear()
        assert gap["gap"] == {"reason": "GAP_REASON_NEW_EPOCH"}
    await plain.say("new")
    assert (await page.hear())["seq"] in (1, "1")


async def test_the_library_goes_on_in_the_new_order(doors: LocalDoor) -> None:
    """It tells of the gap, numbers may begin again, and it resumes in the new order without a repeat."""
    authority = engine.tls()
    target = f"grpcs://{doors.address}" if authority else doors.address
    tls = bcast_grpc.Tls(ca=authority.file) if authority else None
    async with bcast_grpc.connect(target, name="ana", tls=tls) as ana:
        bob = await doors.connect("bob")
        await bob.say("old")
        events = aiter(ana)
        assert (await within(anext(events))).message == "bob: old"
        epoch = begin_anew(doors.server.hub, kept=2)
        await bob.say("new")
        received = [await within(anext(events)) for _ in range(4)]
        assert received[0].detail == ANEW
        assert [event.seq for event in received[1:]] == [1, 2, 3]
        assert ana.epoch == epoch
        ack = await within(ana.send("mine"))
        assert (ack.seq, ack.epoch) == (4, epoch)
        for call in list(doors.server.hub._rooms["lobby"].members.values()):
            if call.author.name == "ana":
                call.outbox.close(bcast_grpc.CallError(bcast_grpc.ErrorCode.SLOW_CONSUMER, "a test ends it"))
        while not isinstance(detail := (await within(anext(events))).detail, bcast_grpc.Resumed):
            pass
        assert detail.complete
        await bob.say("newer")
        while (event := await within(anext(events))).kind is not Kind.MESSAGE:
            pass
        assert (event.seq, event.message) == (5, "bob: newer")
