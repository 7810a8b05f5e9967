"""``python -m tests.promises.figures``: how long clients are without what is said when a server, or NATS, is killed.

- *exodus*: three servers, of which one is killed with all clients but a few. It is measured how long it takes until
  all of them are back at the others, have got what was said right after that, and have acks for all that they sent.
- *silence*: a log on three NATS servers, whose leader is killed, again and again. It is measured how long it takes
  until what each client says right after that has come to everybody.

Clients use gRPC and WebSockets in turn, and say ten messages a second together. All promises are checked in the end.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from tests.nats_server import NatsServer

from .cable import Cable, Road
from .client import Caller
from .grpc_client import GrpcCaller
from .node import Node
from .records import Door, Place, Room
from .recovery import Recovery
from .storm import Storm
from .weather import Weather
from .websocket_client import WebSocketCaller

_EXODUS_S = 10.0
_SILENCE_S = 15.0
_SERVERS = 3
_IN_A_ROOM = 100
_EVERY_S = 0.1
_TALK = 20  # so that there is something to come back to
_AT_LONGEST_S = 120.0
_PATIENT_S = 20.0
_KINDS: tuple[type[Caller], ...] = (GrpcCaller, WebSocketCaller)


class Figure(Storm):
    """Servers as they are by default, and clients without cables.

    Attributes:
        took_s: the figure, each time that it was measured.
        cpu_s: how much CPU time all the clients needed meanwhile, in this one process.
    """

    def __init__(self, weather: Weather, folder: Path) -> None:
        super().__init__(weather, folder)
        names = [f"room{number}" for number in range(max(1, weather.clients // _IN_A_ROOM))]
        self.outcome.rooms = [Room(name, durable=True, kept=1000, refusing=True) for name in names]
        self.took_s: list[float] = []
        self.cpu_s: list[float] = []

    def settings(self, kept: int) -> list[str]:
        """Return what differs from the defaults: signs of life come as often as these clients expect them."""
        return ["--keepalive-s=2", "--progress-s=0.3"]

    def kind(self, number: int) -> type[Caller]:
        """Choose in turn, in each room."""
        return _KINDS[number // len(self.outcome.rooms) % len(_KINDS)]

    async def talk(self, caller: Caller) -> None:
        """Say nothing of one's own accord."""

    def cable_to(self, door: Door) -> Cable:
        """Return no cable."""
        return Road(lambda: self.any_node().addresses[door])

    async def populate(self) -> None:
        """Let the clients come, some at a time."""
        for number in range(self.weather.clients):
            caller = await self.add(self.outcome.rooms[number % len(self.outcome.rooms)], self.kind(number))
            caller.silence_s, caller.pause_s = _PATIENT_S, (0.0, 1.0)  # as the library does
            caller.start()
            if number % 20 == 0:
                await self.until(lambda: all(caller.here for caller in self.callers))
        await self.until(lambda: all(caller.here for caller in self.callers))

    async def rage(self) -> None:
        """Measure while clients talk."""
        talking = asyncio.create_task(self._chat())
        try:
            await self.measure()
        finally:
            talking.cancel()
            with suppress(asyncio.CancelledError):
                await talking

    async def measure(self) -> None:
        """Break something, and note how long it takes until all is well."""
        raise NotImplementedError

    async def calm(self) -> None:
        """Wait until everybody has everything."""
        await self.until(lambda: not any(caller.unacknowledged for caller in self.callers))
        for room in self.outcome.rooms:
            await Recovery(self).say_last_words(room)

    async def _chat(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)  # the pace
            self.chance.choice(self.callers).say()

    async def come_to_all(self, speakers: Iterable[Caller]) -> None:
        """Have some say something, and note how long it takes until all are here, and have that and their acks."""
        since, used_s = time.monotonic(), time.process_time()
        sent = {(caller, text) for caller in self.callers for text in caller.unacknowledged}
        said = {speaker: speaker.say() for speaker in speakers}
        sent |= set(said.items())
        await self.until(lambda: all(text not in caller.unacknowledged for caller, text in sent))
        last: dict[str, Place] = {}
        for speaker, text in said.items():
            last[speaker.room] = max(speaker.places[text], last.get(speaker.room, speaker.places[text]))
        await self.until(lambda: all(one.has_come(last[one.room]) or one in said for one in self.callers))
        self.took_s.append(time.monotonic() - since)
        self.cpu_s.append(time.process_time() - used_s)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait, and look now and then: to look after each event of a thousand clients takes all the CPU there is."""
        async with asyncio.timeout(_AT_LONGEST_S):
            while not true():  # noqa: ASYNC110  # see above
                await asyncio.sleep(0.02)


class Exodus(Figure):
    """A server is killed with all clients but one of each room."""

    def __init__(self, weather: Weather, folder: Path) -> None:
        super().__init__(weather, folder)
        self._killed = False
        self._elsewhere: list[Caller] = []

    def cable_to(self, door: Door) -> Cable:
        """Return no cable: as long as the first server is there, it leads to that one, or to the others."""
        stays = len(self.callers) < len(self.outcome.rooms)

        def target() -> Node:
            return self.any_node() if self._killed else self.chance.choice(self.nodes[1:]) if stays else self.nodes[0]

        return Road(lambda: target().addresses[door])

    async def measure(self) -> None:
        """Kill the first server."""
        stay = self.callers[: len(self.outcome.rooms)]
        await self.until(lambda: sum(len(caller.places) for caller in self.callers) >= _TALK)
        self._killed = True
        await self.nodes[0].kill()
        await self.come_to_all(stay)


class Silence(Figure):
    """The leader of the log is killed, and comes back, several times.

    Args:
        weather: how it is to be.
        folder: for the log.
        rounds: how many times.
    """

    def __init__(self, weather: Weather, folder: Path, rounds: int) -> None:
        super().__init__(weather, folder)
        self._rounds = rounds

    async def measure(self) -> None:
        """Kill the leader, and start it again when all is well."""
        for _ in range(self._rounds):
            leader: NatsServer = await self.cluster.leader()
            await self.cluster.kill(leader)
            await self.come_to_all(self.callers)
            leader.start()
            await leader.ready()


def main() -> int:
    """Print the figures; return 1 if a promise was not kept, or a goal was not reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.promises.figures", description=__doc__.split("\n\n")[0])
    parser.add_argument("--clients", type=int, default=1000, help="of the server that is killed (default: 1000)")
    parser.add_argument("--rounds", type=int, default=5, help="how often NATS's leader is killed (default: 5)")
    parser.add_argument("--only", choices=("exodus", "silence"), default="", help="default: both")
    options = parser.parse_args()
    if not shutil.which("go"):
        parser.error("nats-server is built from its Go module: install Go")
    figures: list[tuple[str, float, Weather, Callable[[Weather, Path], Figure]]] = [
        (
            f"exodus, R{replicas}: a server of three is killed with {options.clients} clients",
            _EXODUS_S,
            Weather(durable=True, seed=1, clients=options.clients, servers=_SERVERS, replicas=replicas),
            Exodus,
        )
        for replicas in (1, 3)
    ]
    figures.append(
        (
            f"silence, R3: NATS's leader is killed {options.rounds} times",
            _SILENCE_S,
            Weather(durable=True, seed=1, clients=3 * _SERVERS, servers=_SERVERS, replicas=3),
            lambda weather, folder: Silence(weather, folder, options.rounds),
        )
    )
    good = [asyncio.run(_tell(*figure)) for figure in figures if figure[0].startswith(options.only)]
    return 0 if all(good) else 1


async def _tell(what: str, goal_s: float, weather: Weather, kind: Callable[[Weather, Path], Figure]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        figure = kind(weather, Path(folder))
        outcome = await figure.run()
    took = ", ".join(f"{took_s:.1f}" for took_s in figure.took_s)
    count = outcome.count
    deliveries = sum(number for name, number in count.items() if name.startswith("deliveries"))
    told = f"{count['reconnects']} reconnects, {count['messages']} messages, {deliveries} deliveries"
    told += f", CPU of the clients {max(figure.cpu_s):.1f} s"
    first = f"{what}: all well after {took} s (goal {goal_s:g} s); {told}, {len(outcome.violations)} violations"
    print("\n  ".join([first, *outcome.violations[:20]]), flush=True)  # noqa: T201
    return not outcome.violations and max(figure.took_s) <= goal_s


if __name__ == "__main__":
    sys.exit(main())
