"""What the servers of a cluster say to each other over core NATS: beats, and whatever the parts of a server add."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Iterable
from typing import NoReturn, Protocol

from nats.aio.msg import Msg

from bcast_grpc import __version__
from bcast_grpc.broker.nats.connection.connection import Connection, TooLarge
from bcast_grpc.broker.nats.connection.requests import Lost
from bcast_grpc.broker.nats.names import Names
from bcast_grpc.broker.nats.peers.peers import BEAT_S, VERSION, Peer, Peers
from bcast_grpc.log.v1 import peers_pb2 as pb

logger = logging.getLogger(__name__)

ACQUAINTED_S = 0.3
"""How long a server that has just come waits for what the others say."""

_TICK_S = 0.1
_SOON_S = 0.1
_MAX_WAITING = 8 * 1024 * 1024


class Part(Protocol):
    """A part of a server that has something to say to the others. All methods are called from the loop."""

    def beat(self) -> Iterable[pb.PeerMessage]:
        """Return what it says with each beat."""

    def heard(self, message: pb.PeerMessage) -> None:
        """Take what another server says: everything, also what is not for this part."""

    def gone(self, server: str) -> None:
        """Note that another server has ended, or says nothing any more."""

    def tick(self, now_s: float) -> None:
        """Do what is due; called ten times a second."""

    def end(self) -> None:
        """Say what is still to be said: this server ends."""


class Talk:
    """Says what the parts of this server say, and passes on what the other servers say.

    Args:
        me: the name of this run of the server.
        names: of the cluster's subjects.
        connection: to NATS.
        port: where clients come in; 0 if that is not known.

    Attributes:
        peers: the other servers.
    """

    def __init__(self, me: str, names: Names, connection: Connection, port: int) -> None:
        self.peers = Peers(me)
        self._me = me
        self._names = names
        self._connection = connection
        self._about = pb.Beat(
            release=__version__, host=socket.gethostname(), port=port, pid=os.getpid(), since_ns=time.time_ns()
        )
        self._parts: list[Part] = []
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._waiting_bytes = 0
        self._anything = asyncio.Event()
        self._next_beat_s = 0.0
        self._acquainted_s = 0.0

    def attach(self, part: Part) -> None:
        """Have a part take part."""
        self._parts.append(part)

    @property
    def max_bytes(self) -> int:
        """The largest message, without its envelope."""
        return self._connection.max_bytes - 256

    # --- saying

    def say(self, message: pb.PeerMessage, to: str = "") -> None:
        """Say something to everybody, or to one server. It may get lost, but keeps its order."""
        message.version, message.server = VERSION, self._me
        data = message.SerializeToString()
        if self._waiting_bytes + len(data) > _MAX_WAITING or not self._connection.up:
            return
        self._waiting.append((self._names.peers(to), data))
        self._waiting_bytes += len(data)
        self._anything.set()

    async def _send(self) -> NoReturn:
        while True:
            await self._anything.wait()
            while self._waiting:
                subject, data = self._waiting.popleft()
                self._waiting_bytes -= len(data)
                try:
                    await self._connection.publish(subject, data)
                except Lost:
                    pass
                except TooLarge as error:
                    logger.warning("something was not said to the other servers: %s", error)
                except Exception:
                    logger.exception("internal error while saying something to other servers")
            self._anything.clear()

    def _beat(self, *, calls: bool = False) -> None:
        self._next_beat_s = self._now_s + BEAT_S
        self._about.calls = calls
        self.say(pb.PeerMessage(beat=self._about))
        for part in self._parts:
            for message in part.beat():
                self.say(message)

    # --- hearing

    def _take(self, message: Msg) -> None:
        said = self.peers.read(message.data)
        if said is None:
            return
        if said.HasField("beat") and said.beat.calls:
            self._next_beat_s = min(self._next_beat_s, self._now_s + _SOON_S)
        if said.HasField("beat") and said.beat.leaving:
            self.peers.end(said.server)
            self._tell_gone([said.server])
            return
        if not self.peers.heard(said, self._now_s):
            return
        for part in self._parts:
            part.heard(said)

    def _tell_gone(self, servers: Iterable[str]) -> None:
        for server in servers:
            for part in self._parts:
                part.gone(server)

    # --- its life

    @property
    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def start(self) -> None:
        """Listen.

        Raises:
            Lost: the connection is lost already.
        """
        for to in ("", self._me):
            await self._connection.subscribe(self._names.peers(to), self._take)
        self._acquainted_s = self._now_s + ACQUAINTED_S

    async def run(self) -> NoReturn:
        """Beat, and let the parts do what is due."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send())
            self._beat(calls=True)
            while True:
                await asyncio.sleep(_TICK_S)
                try:
                    self._tick()
                except Exception:
                    logger.exception("internal error in what is said to other servers")
        raise AssertionError("this does not end")

    def _tick(self) -> None:
        now_s = self._now_s
        if not self._connection.up:
            return
        if now_s >= self._next_beat_s:
            self._beat()
        self._tell_gone(self.peers.gone(now_s))
        for part in self._parts:
            part.tick(now_s)

    @property
    def acquainted_in_s(self) -> float:
        """How long it takes until the other servers have had the time to answer this one's first beat."""
        return max(0, self._acquainted_s - self._now_s)

    async def acquainted(self) -> None:
        """Wait for that."""
        await asyncio.sleep(self.acquainted_in_s)

    def connected(self) -> None:
        """Note that the connection is there again."""
        if self._acquainted_s:
            self._beat(calls=True)

    async def end(self) -> None:
        """Say that this server ends, so that the others need not wait for its beats."""
        for part in self._parts:
            part.end()
        try:
            while self._waiting:
                await self._connection.publish(*self._waiting.popleft())
            leaving = pb.PeerMessage(version=VERSION, server=self._me, beat=pb.Beat(leaving=True))
            await self._connection.publish(self._names.peers(), leaving.SerializeToString())
        except (Lost, TooLarge):
            pass


async def roll_call(connection: Connection, names: Names, wait_s: float = 1.0) -> list[Peer]:
    """Return the servers of a cluster that answer, for a program that is none.

    Raises:
        Lost: there is no connection.
    """
    peers = Peers("")
    loop = asyncio.get_running_loop()

    def take(message: Msg) -> None:
        if (said := peers.read(message.data)) and said.server:
            peers.heard(said, loop.time())

    await connection.subscribe(names.peers(), take)
    try:
        call = pb.PeerMessage(version=VERSION, beat=pb.Beat(calls=True))
        await connection.publish(names.peers(), call.SerializeToString())
        await asyncio.sleep(wait_s)
    finally:
        await connection.unsubscribe(names.peers())
    return peers.all
