"""Who is in a room, for a single server; and what a hub does with what another ``Presence`` says."""

from __future__ import annotations

import pytest

from bcast_grpc.core import notices
from bcast_grpc.core.presence import LocalPresence, Present, Watcher
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Author, Kind

from .world import ALL, World

ANA, LEO = Author("s1", "ana", "key 1"), Author("s2", "leo", "key 2")


def test_members_are_listed_in_the_order_of_arrival_under_their_present_names() -> None:
    """A client that is renamed keeps its place."""
    presence = LocalPresence()
    presence.put("lobby", Present(ANA, 1))
    presence.put("lobby", Present(LEO, 2))
    presence.put("lobby", Present(ANA._replace(name="eva"), 1))
    assert [(member.name, member.since_ns) for member in presence.members("lobby")] == [("eva", 1), ("leo", 2)]
    assert (presence.count("lobby"), presence.count("other")) == (2, 0)
    presence.drop("lobby", ANA.session)
    assert [member.name for member in presence.members("lobby")] == ["leo"]


class Elsewhere(LocalPresence):
    """A presence with one client of another server.

    Attributes:
        there: that client, if it is there.
        watcher: of the room that is open.
        dropped: the sessions that were dropped, and whether they were replaced.
    """

    def __init__(self) -> None:
        super().__init__()
        self.there: Present | None = None
        self.watcher: Watcher | None = None
        self.dropped: list[tuple[str, bool]] = []

    def watch(self, room: str, watcher: Watcher) -> None:
        """Note the watcher."""
        self.watcher = watcher

    def elsewhere(self, room: str, key: str, *, reader: bool) -> Present | None:
        """Return the one client."""
        return self.there if self.there and (self.there.author.key, self.there.reader) == (key, reader) else None

    def drop(self, room: str, session: str, *, replaced: bool = False) -> None:
        """Note it."""
        self.dropped.append((session, replaced))
        super().drop(room, session, replaced=replaced)


@pytest.fixture
def presence() -> Elsewhere:
    """A presence with one client of another server."""
    return Elsewhere()


@pytest.fixture
def world(presence: Elsewhere) -> World:
    """A hub with it."""
    return World(presence=presence)


def test_what_happens_elsewhere_is_told_to_those_who_want_it(world: World, presence: Elsewhere) -> None:
    """As if it had happened here."""
    ana, bob = world.join("ana", kinds=ALL), world.join("bob")
    world.settle()
    ana.new(), bob.new()
    assert presence.watcher
    presence.watcher.tell(notices.joined(LEO))
    presence.watcher.tell(notices.left(LEO))
    world.settle()
    assert (ana.texts(), bob.texts()) == (["leo joined", "leo left"], ["leo left"])


def test_a_client_that_has_come_to_another_server_ends_here(world: World, presence: Elsewhere) -> None:
    """It was replaced, so it has not left."""
    ana, bob = world.join("ana", client="ana's"), world.join("bob")
    world.settle()
    assert presence.watcher
    presence.watcher.replaced(ana.session.id)
    presence.watcher.replaced("nobody")
    world.settle()
    assert ana.error
    assert ana.error.code is ErrorCode.REPLACED
    assert (bob.texts(), world.hub.clients) == ([], 1)
    assert presence.dropped == [(ana.session.id, True)]


@pytest.mark.parametrize(("name", "told"), [("ana", []), ("eva", ["ana is now eva"]), ("", ["ana left"])])
def test_a_client_that_comes_from_another_server_has_not_joined(
    world: World, presence: Elsewhere, name: str, told: list[str]
) -> None:
    """It goes on here; others are told only if its name is another one."""
    bob = world.join("bob", kinds=ALL)
    world.settle()
    bob.new()
    presence.there = Present(Author("far", "ana", ":ana's"), 1, asked=presence.stamp())
    world.join(name, client="ana's")
    world.settle()
    assert bob.texts() == told


def test_of_two_servers_the_later_client_stays(world: World, presence: Elsewhere) -> None:
    """Also where this server hears later of it."""
    presence.there = Present(Author("far", "ana", ":ana's"), 1, asked=10**9)
    with pytest.raises(CallError) as refused:
        world.join("ana", client="ana's")
    assert refused.value.code is ErrorCode.REPLACED
    assert world.join("ana", client="ana's", reader=True).error is None
    assert world.join("ana").error is None


def test_a_client_that_is_still_elsewhere_has_not_left(world: World, presence: Elsewhere) -> None:
    """Its later stream ended before the earlier one was noticed."""
    ana, bob = world.join("ana", client="ana's"), world.join("bob", kinds=ALL)
    world.settle()
    bob.new()
    presence.there = Present(Author("far", "ana", ":ana's"), 1)
    ana.close()
    world.settle()
    assert bob.texts() == []
    assert Kind.LEFT in ALL
