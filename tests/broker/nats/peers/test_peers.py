"""Which servers are there, by what they say: without a network, in a time that is moved by hand."""

from __future__ import annotations

import logging

import pytest

from bcast_grpc.broker.nats.peers.peers import BEAT_S, GONE_S, VERSION, Peers
from bcast_grpc.log.v1 import peers_pb2 as pb


def beat(server: str) -> pb.PeerMessage:
    """What a server says every two seconds."""
    return pb.PeerMessage(version=VERSION, server=server, beat=pb.Beat(release="1.2.3"))


def names(peers: Peers) -> list[str]:
    """Who is there."""
    return [peer.name for peer in peers.all]


def test_who_says_nothing_for_three_beats_is_gone() -> None:
    """And told as gone once; whatever it says is a sign of life."""
    peers = Peers("me")
    peers.heard(beat("a"), 0)
    peers.heard(beat("b"), 0)
    gone = []
    for tenth in range(200):
        now_s = tenth / 10
        if now_s % BEAT_S < 0.05:
            peers.heard(pb.PeerMessage(version=VERSION, server="b", ask=pb.Ask()), now_s)
        gone += [(name, round(now_s, 1)) for name in peers.gone(now_s)]
    assert gone == [("a", GONE_S + 0.1)]
    assert names(peers) == ["b"]


def test_a_server_that_was_busy_itself_blames_nobody() -> None:
    """What the others said meanwhile is still to be taken."""
    peers = Peers("me")
    peers.heard(beat("a"), 0)
    assert peers.gone(0) == peers.gone(60) == []
    assert [name for tenth in range(80) for name in peers.gone(60 + tenth / 10)] == ["a"]


def test_only_who_was_heard_lately_is_waited_for() -> None:
    """A server that hangs delays nobody who comes."""
    peers = Peers("me")
    peers.heard(beat("a"), 0)
    peers.heard(beat("b"), 2)
    assert sorted(peers.prompt(2)) == ["a", "b"]
    assert sorted(peers.prompt(4)) == ["b"]


def test_what_cannot_be_understood_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    """One line in the log says so; unknown kinds and fields are no fault."""
    peers = Peers("me")
    later = pb.PeerMessage(version=VERSION + 1, server="a")
    strange = [
        beat(name).SerializeToString() for name in ("x" * 100, "a b", "a.b", "*", ">", "a\r\nPUB b 0\r\n\r\n", "ñ")
    ]
    for data in (b"\xff\xff", b"", later.SerializeToString(), *strange):
        assert peers.read(data) is None
    assert len(caplog.records) == 1
    assert peers.read(beat("me").SerializeToString()) is None
    assert peers.read(beat("a").SerializeToString() + b"\xfa\x7f\x03new") is not None


def test_who_has_ended_is_gone_for_good() -> None:
    """What it has said before may come later, on another subject."""
    peers = Peers("me")
    peers.heard(beat("a"), 0)
    peers.end("a")
    assert not peers.heard(beat("a"), 0)
    assert names(peers) == []
    assert peers.heard(beat("b"), 0)


def test_servers_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """However many there seem to be; one line says that there are too many."""
    peers = Peers("me")
    heard = [peers.heard(beat(f"{number}"), 0) for number in range(1000)]
    assert sum(heard) == len(peers.all) == 256
    assert not peers.heard(beat(""), 0)
    assert caplog.text.count("there are more than 256 other servers") == 1


def test_what_a_server_says_of_itself_is_short(caplog: pytest.LogCaptureFixture) -> None:
    """It is told once, in one line, and without what would do something to a terminal."""
    caplog.set_level(logging.INFO)
    peers = Peers("me")
    about = pb.Beat(host="evil\n2026-01-01 ERROR \x1b[2J" + "x" * 100_000, port=1, pid=2, since_ns=-(2**63))
    for _ in range(3):
        peers.heard(pb.PeerMessage(version=VERSION, server="a", beat=about), 0)
    (peer,) = peers.all
    assert peer.about
    assert len(peer.about.host) == 64
    assert len(caplog.records) == 1
    assert caplog.records[0].getMessage().isprintable()
    peers.heard(pb.PeerMessage(version=VERSION, server="b", beat=pb.Beat(leaving=True)), 0)
    assert names(peers) == ["a"]
