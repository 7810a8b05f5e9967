"""When a room waits for what other servers say of it, and how long that is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any, cast

from bcast_grpc.broker.memory import MemoryBroker, MemoryOrder
from bcast_grpc.core.presence import Watcher
from bcast_grpc.log.v1 import peers_pb2 as pb
from bcast_grpc.presence import others, shared
from bcast_grpc.presence.shared import SharedPresence


class Talk:
    """A talk in which the others say what a test lets them say.

    Attributes:
        said: what this server has said, and to whom.
        prompt: who answers soon.
    """

    def __init__(self, prompt: Collection[str] = ()) -> None:
        self.said: list[tuple[pb.PeerMessage, str]] = []
        self.max_bytes = 1 << 20
        self.peers = SimpleNamespace(prompt=lambda _: prompt)

    def attach(self, part: object) -> None:
        """Take part."""

    def say(self, message: pb.PeerMessage, to: str = "") -> None:
        """Note it."""
        self.said.append((message, to))


def beat(server: str, number: int = 0) -> pb.PeerMessage:
    """A notice without changes, as is said with each beat."""
    return pb.PeerMessage(version=1, server=server, notice=pb.Notice(number=number))


def listing(server: str, *names: str, room: str = "lobby", number: int = 0) -> pb.PeerMessage:
    """A list of clients."""
    presents = [pb.Present(session=f"{server} {name}", name=name) for name in names]
    return pb.PeerMessage(
        version=1, server=server, lists=pb.Lists(lists=[pb.List(room=room, number=number, presents=presents)])
    )


def presence_with(talk: Talk) -> SharedPresence:
    """A presence."""
    return SharedPresence("me", cast(Any, talk))


async def test_a_room_waits_for_all_who_answer_soon() -> None:
    """Until the last of them has answered; who hangs, or is not there, is not waited for."""
    talk = Talk(["a", "b"])
    presence = presence_with(talk)
    for server in ("a", "b", "hangs"):
        presence.heard(beat(server))
    opening = asyncio.create_task(presence.open("lobby"))
    await asyncio.sleep(0)
    assert sorted(to for message, to in talk.said if message.ask.rooms) == ["a", "b", "hangs"]
    presence.heard(listing("a", "ana"))
    presence.heard(listing("b", "bob", room="another"))
    await asyncio.sleep(0)
    assert not opening.done()
    presence.heard(listing("b", "bob"))
    await asyncio.wait_for(opening, 5)
    assert [member.name for member in presence.members("lobby")] == ["ana", "bob"]
    await presence.open("lobby")


async def test_a_room_does_not_wait_for_ever() -> None:
    """A moment, at most."""
    presence = presence_with(Talk(["a"]))
    presence.heard(beat("a"))
    await asyncio.wait_for(presence.open("lobby"), 10 * shared.PATIENCE_S + 5)
    assert presence.count("lobby") == 0


async def test_what_is_known_of_a_closed_room_is_kept_for_a_little_while() -> None:
    """So that who opens it again need not wait; then it is forgotten, the oldest first if there are many."""
    talk = Talk(["a"])
    presence = presence_with(talk)
    presence.heard(beat("a"))
    order = MemoryOrder("lobby", MemoryBroker())
    presence.watch("lobby", Watcher(lambda _: None, lambda _: None, order))
    presence.heard(listing("a", "ana"))
    presence.unwatch("lobby")
    now_s = asyncio.get_running_loop().time()
    presence.tick(now_s + 4)
    assert presence.count("lobby") == 1
    await presence.open("lobby")
    presence.tick(now_s + 6)
    assert presence.count("lobby") == 0
    for number in range(2000):
        presence.watch(f"{number}", Watcher(lambda _: None, lambda _: None, order))
        presence.unwatch(f"{number}")
    presence.tick(now_s)
    assert len(presence._rooms.rolls) == 1000
    assert "1999" in presence._rooms.rolls


async def test_what_is_kept_of_others_is_bounded(monkeypatch: Any, caplog: Any) -> None:
    """One line in the log says that some are missing."""
    monkeypatch.setattr(others, "_MAX_BYTES", 10_000)
    presence = presence_with(Talk(["a"]))
    presence.heard(beat("a"))
    await presence.open("lobby")
    presence.heard(listing("a", *(f"name {number}" for number in range(1000))))
    assert 10 < presence.count("lobby") < 200
    assert len(caplog.records) == 1
    presence.gone("a")
    assert presence.count("lobby") == 0
    presence.heard(beat("b"))
    presence.heard(listing("b", "bob"))
    assert presence.count("lobby") == 1
