"""Clients that talk while faults are injected, and the promises that must hold meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.peers import SCALE

from .cable import Cable
from .client import Bell, Caller
from .client_faults import client_faults
from .fault import Fault
from .grpc_client import GrpcCaller, Reader
from .guard import Guard
from .node import Node
from .promises import violations
from .publisher import Publisher
from .records import Came, Client, Door, Place, Present, Room, Went
from .server_faults import server_faults
from .tcp_client import TcpCaller
from .websocket_client import WebSocketCaller

_RECOVERY_S = 20 * SCALE
"""How long recovery may take after the last fault."""

_TALK_PER_S = 20
"""How often each of eight clients sends, on average; more clients send less often, since they share this process."""

_KEEPALIVE_S = 2
_ROOMS = ("lobby", "dev", "ops")
_EXPECTED_LOG = ("the store cannot be used", "the store can be written", "the store cannot be trimmed")

_EXPECTED_ENDINGS = ("OK", "SHUTTING_DOWN", "SLOW_CONSUMER", "REPLACED", "BROKER_UNAVAILABLE", "TOKEN_EXPIRED")

_NEVER_MISSING = ("server killed", "backup restored")

_CALLERS: dict[Door, type[Caller]] = {"grpc": GrpcCaller, "ws": WebSocketCaller, "tcp": TcpCaller}


@dataclass(frozen=True, slots=True)
class Weather:
    """What a storm is like.

    Attributes:
        durable: whether the server stores in a file.
        restores: whether that file may be replaced by an older copy.
        seed: of everything that is left to chance.
        seconds: how long faults are injected.
        clients: at any time.
        every_s: the time between faults, on average.
        faults: which kinds; all if empty.
        doors: where clients come in, in turn.
        guarded: whether there is TLS, and clients present tokens that soon expire.
    """

    durable: bool
    seed: int
    seconds: float = 6.0
    clients: int = 8
    every_s: float = 0.5
    faults: tuple[str, ...] = ()
    doors: tuple[Door, ...] = ("grpc", "ws", "tcp")
    restores: bool = False
    guarded: bool = False


@dataclass(slots=True)
class Outcome:
    """The result of a storm.

    Attributes:
        count: messages, acks, deliveries, reconnects, gaps, faults by kind, and so on.
        recovery_s: how long it took until all was well, once the faults had stopped.
        outage_s: the longest that one client was without a stream.
        violations: of the promises, in words.
        rooms: the records.
        settings: what the server was told.
    """

    count: Counter[str] = field(default_factory=Counter)
    recovery_s: float = 0.0
    outage_s: float = 0.0
    violations: list[str] = field(default_factory=list)
    rooms: list[Room] = field(default_factory=list)
    settings: str = ""


def faults_of(weather: Weather) -> list[Fault]:
    """Return what may happen in this weather."""
    faults = [*server_faults(weather), *client_faults(weather)]
    # A server whose clock is wrong takes good tokens for bad ones.
    faults = [fault for fault in faults if not (weather.guarded and "clock" in fault.name)]
    return [fault for fault in faults if not weather.faults or fault.name in weather.faults]


class Storm:
    """One run.

    Args:
        weather: how it is to be.
        folder: for the server's store.

    Attributes:
        chance: decides whatever is left to it.
        node: the server.
        restarting: held by a fault during which no other one may stop or freeze the server.
        store: the server's file, where it has one.
    """

    def __init__(self, weather: Weather, folder: Path) -> None:
        self.weather = weather
        self.chance = random.Random(weather.seed)
        self.store = folder / f"store-{weather.seed}.db"
        self._bell = Bell()
        self._callers: list[Caller] = []
        self._cables: list[Cable] = []
        self.restarting = asyncio.Lock()
        self._numbers = iter(range(1, 1_000_000))
        kept = self.chance.choice([0, 5, 40, 300, 1000])
        settings = self._settings(kept)
        self.guard = Guard(folder) if weather.guarded else None
        self.node = Node(folder, *settings, *(self.guard.settings if self.guard else ()))
        self._talking: list[asyncio.Task[None]] = []
        self.outcome = Outcome(settings=" ".join(settings))
        rooms = _ROOMS[: self.chance.randint(1, max(1, min(3, weather.clients // 3)))]
        self.outcome.rooms = [
            Room(name, weather.durable and not weather.restores, kept, restored=weather.restores) for name in rooms
        ]

    def _settings(self, kept: int) -> list[str]:
        settings = {
            "store": f"sqlite:{self.store}" if self.weather.durable else "memory:",
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
            await self.node.start()
            for number in range(self.weather.clients):
                room = outcome.rooms[number % len(outcome.rooms)]
                (await self._add(room, self._kind(number))).start()
            await self._rage()
            since = time.monotonic()
            await self._calm()
            outcome.recovery_s = time.monotonic() - since
            self._judge()
        finally:
            await self._end()
        return outcome

    def _judge(self) -> None:
        """Check what everybody sent and got up to now."""
        outcome = self.outcome
        outcome.outage_s = max((outage for caller in self._callers for outage in caller.outages_s), default=0.0)
        for room in outcome.rooms:
            outcome.violations += violations(room)
            outcome.violations += [
                f"{room.name}: {client.key}'s stream ended with {visit.ending}"
                for client in room.clients
                for visit in client.visits
                if visit.ending.isupper() and visit.ending not in _EXPECTED_ENDINGS
            ]
        outcome.violations += [
            f"the log: {line}"
            for line in self.node.log
            if (" ERROR " in line or "Traceback" in line) and not any(known in line for known in _EXPECTED_LOG)
        ]

    # --- the clients

    def _kind(self, number: int) -> type[Caller]:
        """Choose what the client of this number is; each room gets some of all."""
        doors = self.weather.doors
        if number % 8 >= 6 and "grpc" in doors:
            return Reader if number % 8 == 6 else Publisher
        return _CALLERS[doors[number // len(self.outcome.rooms) % len(doors)]]

    async def _add(self, room: Room, kind: type[Caller], *, named: bool = True) -> Caller:
        cable = Cable(self.node.addresses[kind.door])
        await cable.lay()
        self._cables.append(cable)
        options: dict[str, Any] = {"batch": self.chance.random() < 0.5}
        if kind is TcpCaller:
            room = self.outcome.rooms[0]  # there is no other at that door
            options |= {"again": lambda: self._record(room, kind), "turns": lambda: self.node.turns}
        client = self._record(room, kind, named=named)
        caller = kind(client, room.name, cable, self._bell, self.outcome.count, **options)
        caller.guard = self.guard
        self._callers.append(caller)
        if caller.speaks:
            self._talking.append(asyncio.create_task(self._talk(caller)))
        return caller

    def _record(self, room: Room, kind: type[Caller], *, named: bool = True) -> Client:
        """Begin the record of a client."""
        named = named and kind is not Publisher and self.chance.random() < 0.8
        echo = kind not in (Publisher, TcpCaller) and self.chance.random() < 0.2
        client = Client(f"c{next(self._numbers)}", named=named, echo=echo, door=kind.door)
        room.clients.append(client)
        return client

    async def _talk(self, caller: Caller) -> None:
        chance = random.Random(f"{self.weather.seed} {caller.record.key}")
        while not caller.record.gone:
            await asyncio.sleep(chance.expovariate(_TALK_PER_S / max(1, self.weather.clients / 8)))
            for _ in range(chance.choice([1, 1, 1, 1, 1, 1, 1, 1, 5, 60])):
                if not caller.congested and not caller.record.gone:
                    caller.say()

    @property
    def _present(self) -> list[Caller]:
        return [caller for caller in self._callers if not caller.record.gone]

    # --- the faults, and what they need

    async def _rage(self) -> None:
        faults = faults_of(self.weather)
        until = time.monotonic() + self.weather.seconds
        async with asyncio.TaskGroup() as raging:
            while time.monotonic() < until:
                await asyncio.sleep(self.chance.expovariate(1 / self.weather.every_s))
                (fault,) = self.chance.choices(faults, [fault.weight for fault in faults])
                raging.create_task(self._let_happen(fault))
        for fault in faults:  # no storm without these
            if fault.name in _NEVER_MISSING and not self.outcome.count[f"fault: {fault.name}"]:
                await self._let_happen(fault)

    async def _let_happen(self, fault: Fault) -> None:
        self.outcome.count[f"fault: {fault.name}"] += 1
        await fault.happen(self)

    def any_caller(self) -> Caller:
        """Choose one of those who are present."""
        return self.chance.choice(self._present)

    def condemn(self) -> Caller:
        """Choose one that is to be gone for good."""
        caller = self.any_caller()
        caller.record.gone = True
        caller.record.stayed = False
        return caller

    async def replace(self, caller: Caller) -> None:
        """Have a client of the same kind replace one that is gone."""
        room = next(room for room in self.outcome.rooms if room.name == caller.room)
        (await self._add(room, type(caller))).start()

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
        await asyncio.sleep(self.chance.uniform(least_s, most_s))

    # --- the end

    async def _calm(self) -> None:
        """Wait until everybody is back, have one client send the last message in each room, and have some leave."""
        for talk in self._talking:
            talk.cancel()
        if self.guard:
            self.guard.calm = True
            await self._expect("to have a token that lasts", lambda c: c.lasting or isinstance(c, Publisher))
        await self._expect("to be here, with all acknowledged", lambda c: c.here and not c.unacknowledged)
        for room in self.outcome.rooms:
            await self._say_last_words(room)
        await self._let_some_leave()

    async def _expect(self, what: str, true: Callable[[Caller], bool], room: str = "") -> None:
        """Wait until something is true of all who are present."""

        def late() -> list[Caller]:
            return [caller for caller in self._present if caller.room == (room or caller.room) and not true(caller)]

        patience_s = _RECOVERY_S if not self.outcome.violations else 1.0  # it is bad enough already
        if not await self._bell.until(lambda: not late(), patience_s):
            self.outcome.violations += [
                f"recovery: {caller.record.key} was {what} within {_RECOVERY_S} s, and is not" for caller in late()
            ]

    async def _say_last_words(self, room: Room) -> None:
        speakers = [caller for caller in self._present if caller.room == room.name and caller.speaks]
        speaker = self.chance.choice(speakers)
        text = speaker.say()
        await self._expect("to have its last words acknowledged", lambda c: not c.unacknowledged, room.name)
        if place := speaker.places.get(text):
            await self._expect("to get the last words", lambda c: c is speaker or c.has_come(place), room.name)
            await self._audit(room, place)

    async def _audit(self, room: Room, last: Place) -> None:
        """Have a new client read all that is kept of a room."""
        auditor = await self._add(room, Reader, named=False)
        auditor.place = Place(last.epoch, 0)
        auditor.start()
        await self._expect("to have read what is kept", lambda c: c is not auditor or c.has_come(last), room.name)

    async def _let_some_leave(self) -> None:
        for index, caller in enumerate(self._present):
            if index % 3:
                continue
            caller.record.gone = True
            if index % 2:
                caller.cable.cut()
                await caller.stop()
            else:
                await self.let_leave(caller)
        gone = {one.key for room in self.outcome.rooms for one in room.clients if one.gone and one.named}
        await self._expect("to hear of all who left", lambda c: not _believed(c.record) & gone)

    async def _end(self) -> None:
        for talk in self._talking:
            talk.cancel()
        for caller in self._callers:
            await caller.stop()
        for cable in self._cables:
            await cable.close()
        await self.node.kill()


def _believed(client: Client) -> set[str]:
    """Return who is there according to what a client got since its last arrival."""
    here: set[str] = set()
    for step in client.visits[-1].steps if client.visits else ():
        match step:
            case Present(names):
                here |= names
            case Came(name):
                here.add(name)
            case Went(name):
                here.discard(name)
    return here
