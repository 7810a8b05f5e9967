"""The ``Presence`` of a single server: who is listed, and which rooms get the notices."""

from __future__ import annotations

from bcast_grpc.core import notices
from bcast_grpc.core.presence import LocalPresence
from bcast_grpc.events import Author, Event

ANA, LEO = Author("s1", "ana", "key 1"), Author("s2", "leo", "key 2")


def test_members_are_listed_in_the_order_of_arrival_under_their_present_names() -> None:
    """A client that is renamed keeps its place."""
    presence = LocalPresence()
    presence.put("lobby", ANA, 1)
    presence.put("lobby", LEO, 2)
    presence.put("lobby", ANA._replace(name="eva"), 1)
    assert [(member.name, member.since_ns) for member in presence.members("lobby")] == [("eva", 1), ("leo", 2)]
    assert (presence.count("lobby"), presence.count("other")) == (2, 0)
    presence.drop("lobby", ANA.session)
    assert [member.name for member in presence.members("lobby")] == ["leo"]


def test_notices_reach_a_room_only_while_it_watches() -> None:
    """Neither before, nor after, nor those of another room."""
    presence, told = LocalPresence(), list[Event]()
    notice = notices.joined(ANA)
    presence.announce("lobby", notice)
    presence.watch("lobby", told.append)
    presence.announce("lobby", notice)
    presence.announce("other", notice)
    presence.unwatch("lobby")
    presence.announce("lobby", notice)
    assert told == [notice]
