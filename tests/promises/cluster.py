"""NATS servers that hold the log of several servers, and the cables between all of them."""

from __future__ import annotations

import asyncio
import random
import signal
from base64 import urlsafe_b64encode
from itertools import permutations
from pathlib import Path

import nats
from nats import errors

from tests.forked import Forked
from tests.nats_server import NatsServer, program
from tests.ports import free_port

from .cable import Cable

NAME = "storm"
STREAM = f"BCAST_{NAME}"
SUBJECTS = f"bcast.{NAME}.log.*"

_PATIENCE_S = 60
_BUFFER_BYTES = 256 * 1024


class Cluster:
    """One NATS server or three. Every byte between two of them, or to them, goes through a cable.

    Args:
        folder: for their data.
        servers: how many servers write to the log.
        replicas: how many NATS servers hold it.

    Attributes:
        nodes: the NATS servers.
        links: from each server to each NATS server.
        routes: from each NATS server to each other one; either of a pair's two may be the one in use.
    """

    def __init__(self, folder: Path, servers: int, replicas: int) -> None:
        self.nodes: list[NatsServer] = []
        self.links: list[list[Cable]] = [[] for _ in range(servers)]
        self.routes: dict[tuple[int, int], Cable] = {}
        self._folder = folder
        self._replicas = replicas

    async def start(self) -> None:
        """Start all of them, and wait until they are ready."""
        binary = await asyncio.to_thread(program)
        ports = [free_port() for _ in range(self._replicas)]
        for here, there in permutations(range(self._replicas), 2):
            self.routes[here, there] = await _laid(f"127.0.0.1:{ports[there]}")
        for here in range(self._replicas):
            others = [_port(cable) for (near, _), cable in self.routes.items() if near == here]
            routes = [ports[here], *others] if others else []
            node = NatsServer(binary, self._folder / f"n{here}", f"n{here}", routes, secluded=True)
            self.nodes.append(node)
            for links in self.links:
                links.append(await _laid(f"127.0.0.1:{node.port}"))
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            await node.ready()

    def settings(self, server: int) -> list[str]:
        """Return what a server is told of them."""
        where = ",".join(cable.address for cable in self.links[server])
        return [f"--store=nats://{where}", f"--cluster={NAME}", f"--store-replicas={self._replicas}"]

    async def leader(self) -> NatsServer:
        """Return the one that leads the stream; any, if none is known."""
        for node in random.sample(self.nodes, len(self.nodes)):
            name = await asyncio.to_thread(node.leader, STREAM)
            if leader := next((one for one in self.nodes if one.name == name), None):
                return leader
        return random.choice(self.nodes)

    async def request(self, subject: str, data: bytes = b"") -> bytes:
        """Send a request of JetStream's to whichever of them answers; return the answer, or nothing."""
        for node in random.sample(self.nodes, len(self.nodes)):
            try:
                async with asyncio.timeout(3):
                    client = await nats.connect(node.url, allow_reconnect=False, error_cb=_ignore, connect_timeout=1)
                    try:
                        return (await client.request(f"$JS.API.{subject}", data, timeout=2)).data
                    finally:
                        await client.close()
            except (errors.Error, OSError, TimeoutError):
                continue
        return b""

    async def begin_new_epochs(self) -> None:
        """Do what the documents say for a log that was put back in another way than by ``copy``."""
        where = "nats://" + ",".join(node.url.removeprefix("nats://") for node in self.nodes)
        said = b""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while True:  # NATS may not be ready yet
                    program = await Forked.run("bcast_grpc.store", "new-epoch", where, "--cluster", NAME)
                    _, said = await program.communicate()
                    program.close()
                    if not program.returncode:
                        return
        except TimeoutError:
            raise AssertionError(f"no new epochs: {said.decode()}") from None

    async def kill(self, node: NatsServer, how: signal.Signals = signal.SIGKILL) -> None:
        """End one, and wait for that."""
        await asyncio.to_thread(node.kill, how)

    def between(self, one: NatsServer, other: NatsServer) -> list[Cable]:
        """Return the cables between two of them."""
        here, there = self.nodes.index(one), self.nodes.index(other)
        return [self.routes[here, there], self.routes[there, here]]

    def around(self, node: NatsServer) -> list[Cable]:
        """Return the cables between one of them and the other ones."""
        return [cable for other in self.nodes if other is not node for cable in self.between(node, other)]

    async def end(self) -> None:
        """Kill all of them, and take the cables away."""
        for node in self.nodes:
            await self.kill(node)
        for cable in (*self.routes.values(), *(cable for links in self.links for cable in links)):
            await cable.close()


def subject_of(room: str) -> str:
    """Return the subject of a room's records."""
    return SUBJECTS.replace("*", urlsafe_b64encode(room.encode()).rstrip(b"=").decode())


async def _laid(target: str) -> Cable:
    cable = Cable(target, _BUFFER_BYTES)
    await cable.lay()
    return cable


def _port(cable: Cable) -> int:
    return int(cable.address.rpartition(":")[2])


async def _ignore(_: Exception) -> None:
    """Say nothing: the request fails too."""
