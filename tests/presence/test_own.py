"""What a server tells of its own clients."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bcast_grpc.broker.memory import MemoryBroker, MemoryOrder
from bcast_grpc.core.presence import Present, Watcher
from bcast_grpc.events import Author
from bcast_grpc.log.v1 import peers_pb2 as pb
from bcast_grpc.presence.own import Own
from bcast_grpc.presence.rooms import Rooms
from bcast_grpc.presence.stamps import Stamps


class SlowOrder(MemoryOrder):
    """An order that does not answer by itself."""

    def __init__(self) -> None:
        super().__init__("lobby", MemoryBroker())
        self.waiting: list[Callable[[], None]] = []

    def after_answers(self, callback: Callable[[], None]) -> None:
        """Wait."""
        self.waiting.append(callback)


class Told:
    """A server, and what it says."""

    def __init__(self, max_bytes: int = 1 << 20) -> None:
        self.now_s = 0.0
        self.said: list[pb.PeerMessage] = []
        self.order = SlowOrder()
        rooms = Rooms("me")
        rooms.watchers["lobby"] = Watcher(lambda _: None, lambda _: None, self.order)
        self._soon: list[Callable[[], None]] = []
        self.own = Own(
            rooms, Stamps(lambda: 0), self._say, self._soon.append, lambda: self.now_s, max_bytes=lambda: max_bytes
        )

    def _say(self, message: pb.PeerMessage, to: str = "") -> None:
        self.said.append(message)

    def put(self, session: str, name: str = "ana") -> None:
        """Let a client in."""
        self.own.put("lobby", Present(Author(session, name, session), 0))

    def changes(self) -> list[str]:
        """Return who has come and left, as was said since the last time."""
        while self._soon:
            self._soon.pop()()
        said = [change for message in self.said for change in message.notice.changes]
        self.said.clear()
        return [f"+{one.came.session}" if one.HasField("came") else f"-{one.left.session}" for one in said]


@pytest.fixture
def told() -> Told:
    """A server."""
    return Told()


def test_a_departure_is_told_when_all_before_it_is_in_the_order(told: Told) -> None:
    """Or after two seconds, or when the server ends; a client that was replaced is told of at once."""
    for session in "abcd":
        told.put(session)
    assert told.changes() == ["+a", "+b", "+c", "+d"]
    for session in "abc":
        told.own.drop("lobby", session, replaced=False)
    told.own.drop("lobby", "d", replaced=True)
    assert told.changes() == ["-d"]
    assert [one.author.session for one in told.own.presents("lobby")] == []
    told.order.waiting[1]()
    assert told.changes() == ["-b"]
    told.now_s = 1.9
    told.own.tick(told.now_s)
    assert told.changes() == []
    told.now_s = 2.1
    told.own.tick(told.now_s)
    assert told.changes() == ["-a", "-c"]
    told.order.waiting[0]()
    told.put("e")
    told.own.drop("lobby", "e", replaced=False)
    told.own.end()
    assert told.changes() == ["+e", "-e"]


def test_a_flood_is_told_in_messages_that_nats_takes() -> None:
    """What happens at once is told in one, until that is large."""
    told = Told(max_bytes=64 * 1024)
    for number in range(1000):
        told.put(f"s{number}", "n" * 64)
    told.own.flush()
    sizes = [len(message.SerializeToString()) for message in told.said]
    assert max(sizes) <= 64 * 1024
    assert 1 < len(sizes) < 50
    assert [message.notice.number for message in told.said] == list(range(1, len(sizes) + 1))


def test_answers_are_bounded(told: Told) -> None:
    """A server that asks without end does not keep this one busy; it is answered again a second later."""
    for number in range(20_000):
        told.put(f"s{number}")
    told.changes()
    for _ in range(20):
        told.own.answer("b", ["lobby"])
    size = sum(len(message.SerializeToString()) for message in told.said)
    assert size < 17 * 1024 * 1024
    told.said.clear()
    told.own.answer("b", ["lobby"])
    assert not told.said
    told.now_s = 1.1
    told.own.answer("b", ["lobby"])
    assert sum(len(one.presents) for message in told.said for one in message.lists.lists) == 20_000
