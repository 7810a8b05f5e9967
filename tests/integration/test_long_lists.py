"""Who is here, in a room of many: the list comes in parts that every client can take."""

from __future__ import annotations

import pytest

from bcast_grpc.core.acceptance import author_of
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.identity import ANYONE, Caller
from bcast_grpc.core.member import Member
from bcast_grpc.core.outbox import Outbox
from bcast_grpc.transport.rpc import _SINGLY
from bcast_grpc.v1 import chat_pb2 as pb

from .conftest import LocalDoor, Serve
from .peers import Peer

MANY = 18_500
NAMES = [f"{n:06}" + "ñ" * 58 for n in range(MANY)]


async def crowd(door: LocalDoor) -> None:
    """Fill the lobby with clients that have long names and are not there."""
    hub = door.server.hub
    with await hub.entrance.admit(Hello(), Caller("peer")) as admission:
        for name in NAMES:
            outbox = Outbox(_SINGLY, max_messages=10, max_bytes=1000, wake=lambda: None)
            hub.join(admission.room, Member(author_of(Hello(name=name), ANYONE), outbox))


def clear(door: LocalDoor, own: int) -> None:
    """Let them leave."""
    hub = door.server.hub
    room = hub._rooms["lobby"]
    for member in list(room.members.values())[:-own]:
        hub.leave(room, member)


@pytest.mark.parametrize("batch", ["0", "1"])
async def test_a_long_list_comes_in_parts(serve: Serve, batch: str) -> None:
    """In a row, with one id, all but the last say more; the queue's bounds are not touched; the stream goes on."""
    door = await serve(queue_bytes=80_000, queue_messages=100)
    await crowd(door)
    asker: Peer = await door.connect("asker", batch=batch, events="none")
    speaker = await door.connect("speaker", events="none")
    await asker.send(pb.ConnectRequest(batch=[pb.ConnectRequest(operacion="who", id="a"), pb.ConnectRequest(id="b")]))
    await speaker.say("hola")
    parts = [await asker.answer("a")]
    while parts[-1].members.more:
        parts.append(await asker.hear())
    assert len(parts) > 4
    assert {part.id for part in parts} == {"a"}
    assert {part.kind for part in parts} == {pb.EVENT_KIND_MEMBERS}
    assert {part.message for part in parts} == {parts[0].message}
    assert all(part.ByteSize() <= 2**18 + 2**10 for part in parts)
    assert [member.name for part in parts for member in part.members.members] == [*NAMES, "asker", "speaker"]
    assert (await asker.answer("b")).error.code == pb.ERROR_CODE_EMPTY_MESSAGE
    if all(event.message != "speaker: hola" for event in asker.heard):
        assert (await asker.hear()).message == "speaker: hola"
    clear(door, own=2)


async def test_a_list_that_fits_is_one_event(serve: Serve) -> None:
    """At the JSON doors too; a longer one comes in parts there as well."""
    door = await serve(http_port=0, tcp_port=0)
    browser, plug = await door.browse("?events=none"), await door.plug()
    await browser.send({"operacion": "who", "id": "a"})
    event = await browser.hear()
    assert len(event["members"]["members"]) == 2
    assert "more" not in event["members"]
    await crowd(door)
    for peer in (browser, plug):
        await peer.send({"operacion": "who", "id": "b"})
        names: list[str] = []
        while True:
            event = await peer.hear()
            if event.get("id") != "b":
                continue
            names += [member.get("name", "") for member in event["members"]["members"]]
            if not event["members"].get("more"):
                break
        assert sorted(names) == ["", "", *NAMES]
    for member in [m for m in door.server.hub._rooms["lobby"].members.values() if m.author.name]:
        door.server.hub.leave(door.server.hub._rooms["lobby"], member)
