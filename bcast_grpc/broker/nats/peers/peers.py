"""Which other servers of the cluster are there, by what they say (``protos/bcast_grpc/log/v1/peers.proto``)."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from google.protobuf.message import DecodeError

from bcast_grpc.log.v1 import peers_pb2 as pb

logger = logging.getLogger(__name__)

VERSION = 1
"""The version of what this server says, and the highest that it understands."""

BEAT_S = 2.0
GONE_S = 3 * BEAT_S
"""Who has said nothing for so long is gone."""

_LATE_S = 1.5 * BEAT_S
_STALL_S = 1.0
_MAX_PEERS = 256

MAX_NAME = 64
"""No name of a server, a session, an epoch or a record is longer."""


class About(NamedTuple):
    """What a server says about itself, for people: of its texts only what can be printed, and not much of that.

    Attributes:
        release: its version of bcast_grpc.
        host: where it runs.
        port: where its clients come in; 0 if that is not known.
        pid: its process.
        since_ns: when it started, in nanoseconds since 1970.
    """

    release: str = ""
    host: str = ""
    port: int = 0
    pid: int = 0
    since_ns: int = 0

    @classmethod
    def of(cls, beat: pb.Beat) -> About:
        """Copy it: a part of a message keeps all of the message in memory."""
        return cls(_plain(beat.release), _plain(beat.host), beat.port, beat.pid, beat.since_ns)

    @property
    def place(self) -> str:
        """Where it runs."""
        place = f"{self.host}:{self.port}" if self.port else self.host
        return f"{place} (process {self.pid})" if self.pid else place  # workers have one port


@dataclass(slots=True)
class Peer:
    """Another server.

    Attributes:
        name: its incarnation.
        heard_s: when it last said something.
        about: what it last said about itself; None if it has not said anything of that.
    """

    name: str
    heard_s: float
    about: About | None = None

    @property
    def place(self) -> str:
        """Where it runs, for people."""
        return (self.about and self.about.place) or self.name


class Peers:
    """The other servers of the cluster, as far as they are heard. It does no I/O; times are seconds that never go back.

    Args:
        me: the name of this run of the server.
    """

    def __init__(self, me: str) -> None:
        self._me = me
        self._peers: dict[str, Peer] = {}
        self._ended: deque[str] = deque(maxlen=_MAX_PEERS)
        self._looked_s: float | None = None
        self._unreadable = self._full = False

    @property
    def all(self) -> list[Peer]:
        """All of them."""
        return list(self._peers.values())

    def read(self, data: bytes) -> pb.PeerMessage | None:
        """Return what another server says; None if it is this one, or cannot be understood."""
        try:
            message = pb.PeerMessage.FromString(data)
        except DecodeError:
            message = pb.PeerMessage()
        if not 0 < message.version <= VERSION or not _is_name(message.server):
            if not self._unreadable:
                logger.warning("what another server says cannot be understood: is it of a later version?")
            self._unreadable = True
            return None
        return None if message.server == self._me else message

    def heard(self, message: pb.PeerMessage, now_s: float) -> bool:
        """Note that a server has said something. Returns whether it counts: there may be too many of them."""
        if message.beat.leaving:
            return False
        peer = self._peers.get(message.server)
        if peer is None:
            if not message.server or message.server in self._ended:
                return False
            if len(self._peers) >= _MAX_PEERS:
                if not self._full:
                    logger.warning("there are more than %d other servers: the rest of them is not heard", _MAX_PEERS)
                self._full = True
                return False
            peer = self._peers[message.server] = Peer(message.server, now_s)
        peer.heard_s = now_s
        if message.HasField("beat"):
            known, peer.about = peer.about, About.of(message.beat)
            if known is None:
                logger.info("server %s of version %s is there", peer.place, peer.about.release)
        return True

    def end(self, name: str) -> None:
        """Note that a server has said that it ends. What it has said before may still come, and does not count."""
        self._ended.append(name)
        self._forget(name, "it has ended")

    def _forget(self, name: str, why: str) -> None:
        if peer := self._peers.pop(name, None):
            self._full = False
            logger.info("server %s is gone: %s", peer.place, why)

    def gone(self, now_s: float) -> list[str]:
        """Return those that are gone, which are forgotten. Call this a few times a second."""
        last_s, self._looked_s = self._looked_s, now_s
        if last_s is not None and now_s - last_s > _STALL_S:  # this server was busy, or cut off: it could not hear them
            for peer in self._peers.values():
                peer.heard_s = now_s
        gone = [peer.name for peer in self._peers.values() if now_s - peer.heard_s > GONE_S]
        for name in gone:
            self._forget(name, f"it has said nothing for {GONE_S:g} s")
        return gone

    def prompt(self, now_s: float) -> frozenset[str]:
        """Return those that will answer soon, as far as anybody can know."""
        return frozenset(peer.name for peer in self._peers.values() if now_s - peer.heard_s < _LATE_S)


def _is_name(text: str) -> bool:
    """Whether a server may have this name, which becomes a part of a subject; none is that of a program that asks."""
    return not text or (len(text) <= MAX_NAME and text.isascii() and text.isalnum())


def _plain(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:MAX_NAME])
