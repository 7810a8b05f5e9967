"""What somebody says who is no server, or one that is out of order: nothing breaks, and nothing grows."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.broker.memory import MemoryBroker, MemoryOrder
from bcast_grpc.broker.nats.peers.asking import Asking
from bcast_grpc.broker.nats.peers.heads import Heads
from bcast_grpc.broker.nats.peers.talk import Part
from bcast_grpc.core.presence import Watcher
from bcast_grpc.core.rate import RateLimits
from bcast_grpc.log.v1 import peers_pb2 as pb
from bcast_grpc.presence import others
from bcast_grpc.presence.limits import SharedLimits
from bcast_grpc.presence.messages import size_of
from bcast_grpc.presence.shared import SharedPresence
from tests.presence.test_shared import Talk, beat, listing

LONG = "x" * 100_000
NUMBERS = st.sampled_from([0, 1, 2, 3, 2**63, 2**64 - 1])
TEXTS = st.sampled_from(["", "lobby", "a", "b", "\0", "\n", LONG])
SERVERS = st.sampled_from(["s1", "s2"])
TIMES = st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)])

PRESENTS = st.builds(
    pb.Present, session=TEXTS, name=TEXTS, key=TEXTS, reader=st.booleans(), since_ns=TIMES, asked=NUMBERS
)
CHANGES = st.one_of(
    st.builds(pb.Change, room=TEXTS),
    st.builds(pb.Change, room=TEXTS, came=PRESENTS),
    st.builds(
        pb.Change,
        room=TEXTS,
        left=st.builds(pb.Departed, session=TEXTS, epoch=TEXTS, seq=NUMBERS, replaced=st.booleans()),
    ),
)
LISTS = st.builds(
    pb.List, room=TEXTS, number=NUMBERS, clock=NUMBERS, part=st.integers(0, 2), more=st.booleans(), epoch=TEXTS,
    seq=NUMBERS, presents=st.lists(PRESENTS, max_size=3),
)  # fmt: skip
TOLD = st.lists(st.builds(pb.Told, room=TEXTS, epoch=TEXTS, seq=NUMBERS), max_size=3)
MESSAGES = st.one_of(
    st.builds(
        pb.PeerMessage, server=SERVERS,
        notice=st.builds(pb.Notice, number=NUMBERS, clock=NUMBERS, changes=st.lists(CHANGES, max_size=3)),
    ),
    st.builds(pb.PeerMessage, server=SERVERS, lists=st.builds(pb.Lists, lists=st.lists(LISTS, max_size=3))),
    st.builds(pb.PeerMessage, server=SERVERS, ask=st.builds(pb.Ask, rooms=st.lists(TEXTS, max_size=3))),
    st.builds(
        pb.PeerMessage, server=SERVERS,
        used=st.builds(pb.Used, usages=st.lists(st.builds(pb.Usage, key=TEXTS, messages=st.integers(0, 2**32 - 1)))),
    ),
    st.builds(pb.PeerMessage, server=SERVERS, heads_asked=st.builds(pb.HeadsAsked, number=NUMBERS, rooms=TOLD)),
    st.builds(pb.PeerMessage, server=SERVERS, heads_told=st.builds(pb.HeadsTold, number=NUMBERS, rooms=TOLD)),
    st.builds(
        pb.PeerMessage, server=SERVERS,
        heads=st.builds(
            pb.Heads, heads=st.lists(st.builds(pb.Head, room=TEXTS, sequence=NUMBERS, record=TEXTS), max_size=3)
        ),
    ),
)  # fmt: skip


def watched(presence: SharedPresence) -> None:
    """Have the room watched."""
    order = MemoryOrder("lobby", MemoryBroker())
    presence.watch("lobby", Watcher(lambda _: None, lambda _: None, order))


def counted(presence: SharedPresence) -> tuple[int, int]:
    """Return how many bytes of others' clients are counted, and how many there are."""
    found = presence._others
    views = [view for server in found._servers.values() for view in server.views.values()]
    return found._bytes, sum(view.parts_bytes + sum(map(size_of, view.presents.values())) for view in views)


@given(st.lists(MESSAGES, max_size=12))
def test_whatever_is_said_breaks_nothing(said: list[pb.PeerMessage]) -> None:
    """Every number and text at its extremes, in any order; when those who said it are gone, nothing is left of it."""

    async def hear() -> None:
        presence = SharedPresence("me", cast(Any, Talk()))
        watched(presence)
        parts: list[Part] = [presence, SharedLimits(RateLimits(1, 1, lambda: 0.0), lambda: 1 << 20)]
        for message in said:
            for part in parts:
                part.heard(pb.PeerMessage.FromString(message.SerializeToString()))
            assert len(set(counted(presence))) == 1
        presence.members("lobby")
        for server in ("s1", "s2"):
            presence.gone(server)
        assert counted(presence) == (0, 0)
        assert presence.count("lobby") == 0
        assert presence.stamp() < 2**60

    asyncio.run(hear())


async def test_lists_that_never_end_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """They count as what is kept does; who speaks as is due is listed when those are gone."""
    monkeypatch.setattr(others, "_MAX_BYTES", 100_000)
    presence = SharedPresence("me", cast(Any, Talk()))
    watched(presence)
    for number in range(100):
        endless = listing(f"s{number}", *(f"{name}" for name in range(100)))
        endless.lists.lists[0].more = True
        presence.heard(endless)
        assert counted(presence)[0] <= 120_000
    for number in range(100):
        presence.gone(f"s{number}")
    presence.heard(listing("good", "ana"))
    assert [member.name for member in presence.members("lobby")] == ["ana"]


async def test_nobody_has_everything_listed_at_once() -> None:
    """A request for many rooms is answered for some: nobody asks for so many."""
    talk = Talk()
    presence = SharedPresence("me", cast(Any, talk))
    presence.heard(beat("a"))
    presence.heard(pb.PeerMessage(server="a", ask=pb.Ask(rooms=["lobby"] * 100_000)))
    assert sum(len(message.lists.lists) for message, _ in talk.said) == 1024


def test_names_of_clients_may_be_long_and_many() -> None:
    """What they have used is kept by a name that is short."""
    rates = RateLimits(1, 1, lambda: 0.0)
    limits = SharedLimits(rates, lambda: 1 << 20)
    limits.heard(pb.PeerMessage(used=pb.Used(usages=[pb.Usage(key="@" + "x" * 16_000, messages=1)])))
    assert max(map(len, rates._empty_at)) < 200
    assert rates.take("@" + "x" * 16_000) > 0
    assert rates.take("@" + "x" * 15_999 + "y") == 0


async def test_questions_about_the_same_room_are_answered_once() -> None:
    """So an answer is never larger than what may be sent."""
    talk = Talk()
    log = SimpleNamespace(epoch="e", head=7, claimed=lambda *_: [])
    order = SimpleNamespace(log=log, perform=lambda _: None)
    asking = Asking(cast(Any, {"bG9iYnk": order}), cast(Any, talk))
    asked = pb.HeadsAsked(number=5, rooms=[pb.Told(room="bG9iYnk", epoch=LONG)] * 1000)
    asking.heard(pb.PeerMessage(server="a", heads_asked=asked))
    ((answer, to),) = talk.said
    assert (to, [told.seq for told in answer.heads_told.rooms]) == ("a", [7])


async def test_texts_that_are_too_long_are_not_kept() -> None:
    """Neither as an epoch nor as the id of a record."""
    heard: list[object] = []

    def note(*what: object) -> list[object]:
        heard.append(what)
        return []

    order = SimpleNamespace(log=SimpleNamespace(claimed=note, head_of_other=note), perform=lambda _: None)
    orders = cast(Any, {"r": order})
    asking, heads = Asking(orders, cast(Any, Talk())), Heads(orders, lambda: 1 << 20)
    for text in (LONG, "fits"):
        asking.heard(pb.PeerMessage(heads_told=pb.HeadsTold(rooms=[pb.Told(room="r", epoch=text, seq=1)])))
        heads.heard(pb.PeerMessage(heads=pb.Heads(heads=[pb.Head(room="r", sequence=1, record=text)])))
    assert heard == [("fits", 1), (1, "fits")]
