"""Clients that talk while faults are injected, and the promises that must hold meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.ports import free_port

from .cable import Cable
from .client import Bell, Caller
from .client_faults import client_faults
from .cluster import Cluster
from .cluster_faults import cluster_faults
from .fault import Fault
from .grpc_client import GrpcCaller, Reader
from .guard import Guard
from .node import Node
from .promises import violations, wrong_endings
from .publisher import Publisher
from .records import Client, Door, Room
from .recovery import Recovery
from .server_faults import server_faults
from .tcp_client import TcpCaller
from .weather import Outcome, Weather
from .websocket_client import WebSocketCaller

_KEEPALIVE_S = 2
_ROOMS = ("lobby", "dev", "ops")
_EXPECTED_LOG = ("the store cannot be used", "the store can be written", "the store cannot be trimmed")

_NEVER_MISSING = ("server killed", "backup restored", "backup of the log restored", "log purged")

_CALLERS: dict[Door, type[Caller]] = {"grpc": GrpcCaller, "ws": WebSocketCaller, "tcp": TcpCaller}


def faults_of(weather: Weather) -> list[Fault]:
    """Return what may happen in this weather."""
    faults = [*server_faults(weather), *client_faults(weather), *cluster_faults(weather)]
    # A server whose clock is wrong takes good tokens for bad ones.
    faults = [fault for fault in faults if not (weather.guarded and "clock" in fault.name)]
    return [fault for fault in faults if not weather.faults or fault.name in weather.faults]


class Storm:
    """One run.

    Args:
        weather: how it is to be.
        folder: for the server's store, or that of NATS.

    Attributes:
        chance: decides whatever is left to it.
        nodes: the servers.
        cluster: the NATS servers that hold their log, where they share one.
        store: the server's file, where it has one.
        bell: rung whenever something happened to a client.
    """

    def __init__(self, weather: Weather, folder: Path) -> None:
        self.weather = weather
        self.chance = random.Random(weather.seed)
        self.store = folder / f"store-{weather.seed}.db"
        self.bell = Bell()
        self._callers: list[Caller] = []
        self._cables: list[Cable] = []
        self._struck: set[str] = set()
        self._numbers = iter(range(1, 1_000_000))
        kept = self.chance.choice([0, 5, 40, 300, 1000])
        settings = self.settings(kept)
        self.guard = Guard(folder) if weather.guarded else None
        self._folder = folder
        self._arguments = [*settings, *(self.guard.settings if self.guard else ())]
        self.nodes: list[Node] = []
        self.cluster = Cluster(folder, weather.servers, weather.replicas)
        self._talking: list[asyncio.Task[None]] = []
        self.outcome = Outcome(settings=" ".join(settings))
        rooms = _ROOMS[: self.chance.randint(1, max(1, min(3, weather.clients // 3)))]
        self.outcome.rooms = [
            Room(
                name,
                weather.durable and not weather.restores,
                kept,
                restored=weather.restores,
                refusing=bool(weather.replicas),
            )
            for name in rooms
        ]

    def settings(self, kept: int) -> list[str]:
        """Return what the server is told, which keeps so many messages."""
        settings = {
            "history-messages": kept,
            "queue-messages": self.chance.choice([8, 48, 200, 20_000]),
            "queue-bytes": self.chance.choice([80_000, 4 * 1024 * 1024]),
            "slow-policy": self.chance.choice(["disconnect", "drop", "catch-up"]),
            "keepalive-s": _KEEPALIVE_S,
            "drain-s": 1,
            "progress-s": 0.3,
            "log-level": "debug",  # so that there is something to read
        }
        return [f"--{name}={value}" for name, value in settings.items()]

    async def run(self) -> Outcome:
        """Inject faults, wait for recovery, and check the promises."""
        outcome = self.outcome
        try:
            await self._start_servers()
            await self.populate()
            await self.rage()
            since = time.monotonic()
            await self.calm()
            outcome.recovery_s = time.monotonic() - since
            self._judge()
        finally:
            outcome.logs = [node.log for node in self.nodes]
            await self._end()
        return outcome

    async def _start_servers(self) -> None:
        weather = self.weather
        if weather.replicas:
            await self.cluster.start()
        for number in range(weather.servers):
            store = [f"--store=sqlite:{self.store}" if weather.durable else "--store=memory:"]
            if weather.replicas:
                store = self.cluster.settings(number)
            addresses: dict[Door, str] = {door: f"127.0.0.1:{free_port()}" for door in ("grpc", "ws", "tcp")}
            folder = self._folder / f"server{number}"
            folder.mkdir(exist_ok=True)
            self.nodes.append(Node(folder, *self._arguments, *store, addresses=addresses))
        for node in self.nodes:
            await node.start()

    async def populate(self) -> None:
        """Let the clients come."""
        for number in range(self.weather.clients):
            room = self.outcome.rooms[number % len(self.outcome.rooms)]
            (await self.add(room, self.kind(number))).start()

    async def start(self, node: Node) -> None:
        """Start a server again that was stopped: it goes on, or waits until its log is there."""
        await (node.start_again() if self.weather.replicas else node.start())

    def any_node(self) -> Node:
        """Choose one of the servers."""
        return self.chance.choice(self.nodes)

    def _turns(self) -> int:
        """Return how often servers went down or came up; odd while one of them is down."""
        return 2 * sum(node.turns for node in self.nodes) + any(node.turns % 2 for node in self.nodes)

    def _judge(self) -> None:
        """Check what everybody sent and got up to now."""
        outcome = self.outcome
        outcome.outage_s = max((outage for caller in self._callers for outage in caller.outages_s), default=0.0)
        for room in outcome.rooms:
            outcome.violations += [*violations(room), *wrong_endings(room)]
        outcome.violations += [
            f"the log: {line}"
            for node in self.nodes
            for line in node.log
            if (" ERROR " in line or "Traceback" in line) and not any(known in line for known in _EXPECTED_LOG)
        ]

    # --- the clients

    def kind(self, number: int) -> type[Caller]:
        """Choose what the client of this number is; each room gets some of all."""
        doors = self.weather.doors
        if number % 8 >= 6 and "grpc" in doors:
            return Reader if number % 8 == 6 else Publisher
        return _CALLERS[doors[number // len(self.outcome.rooms) % len(doors)]]

    async def add(self, room: Room, kind: type[Caller], *, named: bool = True) -> Caller:
        """Add a client of a kind to a room; it still has to start."""
        cable = self.cable_to(kind.door)
        await cable.lay()
        self._cables.append(cable)
        options: dict[str, Any] = {"batch": self.chance.random() < 0.5}
        if kind is TcpCaller:
            room = self.outcome.rooms[0]  # there is no other at that door
            options |= {"again": lambda: self._record(room, kind), "turns": self._turns}
        client = self._record(room, kind, named=named)
        caller = kind(client, room.name, cable, self.bell, self.outcome.count, **options)
        caller.guard = self.guard
        self._callers.append(caller)
        if caller.speaks:
            self._talking.append(asyncio.create_task(self.talk(caller)))
        return caller

    def cable_to(self, door: Door) -> Cable:
        """Return what is to lie between a new client and a door of any of the servers."""
        return Cable(lambda: self.any_node().addresses[door])

    def _record(self, room: Room, kind: type[Caller], *, named: bool = True) -> Client:
        """Begin the record of a client."""
        named = named and kind is not Publisher and self.chance.random() < 0.8
        echo = kind not in (Publisher, TcpCaller) and self.chance.random() < 0.2
        client = Client(f"c{next(self._numbers)}", named=named, echo=echo, door=kind.door)
        room.clients.append(client)
        return client

    async def talk(self, caller: Caller) -> None:
        """Let a client say something now and then."""
        chance = random.Random(f"{self.weather.seed} {caller.record.key}")
        while not caller.record.gone:
            pause_s = chance.expovariate(self.weather.talk_per_s / max(1, self.weather.clients / 8))
            await asyncio.sleep(pause_s)  # the pace
            for _ in range(chance.choice([1, 1, 1, 1, 1, 1, 1, 1, 5, 60])):
                if not caller.congested and not caller.record.gone:
                    caller.say()

    @property
    def callers(self) -> list[Caller]:
        """Those who are present."""
        return [caller for caller in self._callers if not caller.record.gone]

    # --- the faults, and what they need

    async def rage(self) -> None:
        """Let faults happen."""
        faults = faults_of(self.weather)
        until = time.monotonic() + self.weather.seconds
        async with asyncio.TaskGroup() as raging:
            while time.monotonic() < until:
                await asyncio.sleep(self.chance.expovariate(1 / self.weather.every_s))  # the pace
                possible = [fault for fault in faults if not fault.what & self._struck]
                if not possible:
                    continue
                (fault,) = self.chance.choices(possible, [fault.weight for fault in possible])
                self._struck |= fault.what
                raging.create_task(self._let_happen(fault))
        for fault in faults:  # no storm without these
            if fault.name in _NEVER_MISSING and not self.outcome.count[f"fault: {fault.name}"]:
                await self._let_happen(fault)

    async def _let_happen(self, fault: Fault) -> None:
        self.outcome.count[f"fault: {fault.name}"] += 1
        try:
            await fault.happen(self)
        finally:
            self._struck -= fault.what

    def any_caller(self) -> Caller:
        """Choose one of those who are present."""
        return self.chance.choice(self.callers)

    def condemn(self) -> Caller:
        """Choose one that is to be gone for good."""
        caller = self.any_caller()
        caller.record.gone = True
        caller.record.stayed = False
        return caller

    async def replace(self, caller: Caller) -> None:
        """Have a client of the same kind replace one that is gone."""
        room = next(room for room in self.outcome.rooms if room.name == caller.room)
        (await self.add(room, type(caller))).start()

    async def let_leave(self, caller: Caller) -> None:
        """Have a client leave, and cut its connection if that takes too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                caller.thaw()
                await caller.leave()
        caller.cable.cut()
        await caller.stop()

    def record_passer(self, room: Room) -> Client:
        """Begin the record of a client that connects and leaves at once; others may hear of it."""
        passer = Client(f"p{next(self._numbers)}", stayed=False, gone=True)
        room.clients.append(passer)
        return passer

    async def let_pass(self, least_s: float, most_s: float) -> None:
        """Wait while a fault lasts."""
        await asyncio.sleep(self.chance.uniform(least_s, most_s))  # the fault itself

    # --- the end

    async def calm(self) -> None:
        """Wait until everybody is back, and all have what they must get."""
        for talk in self._talking:
            talk.cancel()
        await Recovery(self).watch()

    async def _end(self) -> None:
        for talk in self._talking:
            talk.cancel()
        for caller in self._callers:
            await caller.stop()
        for cable in self._cables:
            await cable.close()
        for node in self.nodes:
            await node.kill()
        await self.cluster.end()
