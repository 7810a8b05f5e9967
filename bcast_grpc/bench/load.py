"""One worker of the bench: its clients join, send, and verify what they receive."""

from __future__ import annotations

import asyncio
import os
import time
from asyncio import FIRST_COMPLETED
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from bcast_grpc.bench.client import Client, Receipts
from bcast_grpc.bench.link import MAX_EXAMPLES, Await, Failed, Joined, Link, Result, Sent, Start, Stop, Tick
from bcast_grpc.bench.plan import Plan
from bcast_grpc.bench.spread import Spread
from bcast_grpc.bench.summary import Summaries
from bcast_grpc.bench.verify import Due
from bcast_grpc.client.address import read_targets
from bcast_grpc.client.names import candidates
from bcast_grpc.errors import BcastError, ConnectionLost
from bcast_grpc.event_loop import new_event_loop, spare_collections

_JOINING = 32
"""How many clients of a worker connect at the same time."""

_TICK_S = 0.25
_LOOK_S = 0.02


def work(plan: Plan, process: int, connection: Connection[Any, Any]) -> None:
    """Run a worker process: follow the parent's orders to the end."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_work(plan, process, connection))


async def _work(plan: Plan, process: int, connection: Connection[Any, Any]) -> None:
    link = Link(connection)
    load = Load(plan, process)
    ticking = asyncio.create_task(_tick(load, link))
    orders = Orders(link)
    try:
        await load.join()
        link.tell(Joined())
        start = await orders.start
        link.tell(Sent(await load.send(start, orders.stop)))
        link.tell(await load.result(await orders.due))
    except BcastError as error:
        link.tell(Failed(error))
    finally:
        ticking.cancel()
        await load.leave()


async def _tick(load: Load, link: Link) -> None:
    while True:
        await asyncio.sleep(_TICK_S)
        link.tell(load.tick())


class Orders:
    """The orders of the parent so far. If the parent is gone, the worker ends."""

    def __init__(self, link: Link) -> None:
        loop = asyncio.get_running_loop()
        self.start: asyncio.Future[Start] = loop.create_future()
        self.stop = asyncio.Event()
        self.due: asyncio.Future[Mapping[int, Due]] = loop.create_future()
        self._listener = asyncio.create_task(self._listen(link))

    async def _listen(self, link: Link) -> None:
        while True:
            match await link.hear():
                case Start() as start:
                    self.start.set_result(start)
                case Stop():
                    self.stop.set()
                case Await(due):
                    self.due.set_result(due)
                case None:
                    os._exit(1)


@dataclass(slots=True)
class Meter:
    """The time, and the CPU time of this process, since it was made."""

    since_ns: int
    cpu_since_ns: int

    @classmethod
    def started(cls) -> Meter:
        """Begin to measure."""
        return cls(time.monotonic_ns(), time.process_time_ns())

    @property
    def cpu_s(self) -> float:
        """CPU seconds."""
        return (time.process_time_ns() - self.cpu_since_ns) / 1e9

    @property
    def busy(self) -> float:
        """The share of a core in use."""
        return self.cpu_s / max((time.monotonic_ns() - self.since_ns) / 1e9, 1e-9)


class Load:
    """The clients of one process."""

    def __init__(self, plan: Plan, process: int) -> None:
        self._plan = plan
        self._receipts = Receipts()
        summaries = Summaries(plan.run)
        self._clients = [Client(plan, number, summaries, self._receipts) for number in plan.clients(process)]
        self._senders = {client.number: client.sender for client in self._clients if client.sender}
        self._joined = 0
        self._meter = Meter.started()
        self._busy = 0.0
        self._stopped_ns = 0

    async def join(self) -> None:
        """Connect all clients.

        Raises:
            BcastError: a client was not let in.
        """
        free = asyncio.Semaphore(_JOINING)
        found = await candidates(read_targets(self._plan.options.target))
        spread = Spread(self._plan, [each.address for each in found])

        async def join(client: Client) -> None:
            async with free:
                await client.join(spread)
            self._joined += 1

        joining = [asyncio.create_task(join(client)) for client in self._clients]
        try:
            await asyncio.gather(*joining)
        finally:
            for task in joining:
                task.cancel()
            await asyncio.gather(*joining, return_exceptions=True)
        spare_collections()

    async def send(self, start: Start, stop: asyncio.Event) -> dict[int, Due]:
        """Send until the time is over or the parent says stop, then wait for the answers."""
        await asyncio.sleep((start.start_ns - time.monotonic_ns()) / 1e9)
        self._meter = Meter.started()
        stopping = asyncio.create_task(self._stop(stop, start.stop_ns))
        await asyncio.gather(*(client.send(start.start_ns, start.stop_ns) for client in self._clients))
        await stopping
        self._busy, self._stopped_ns = self._meter.busy, time.monotonic_ns()
        await self._until(lambda: all(sender.finished for sender in self._senders.values()))
        return {number: sender.due for number, sender in self._senders.items()}

    async def result(self, due: Mapping[int, Due]) -> Result:
        """Wait until the clients have received what is due, and return what they found."""
        waiting = self._clients

        def all_there() -> bool:
            nonlocal waiting
            waiting = [client for client in waiting if not client.error and client.checker.missing(due)]
            return not waiting

        await self._until(all_there)
        result = Result(
            delivered=self._receipts.messages,
            received_bytes=self._receipts.bytes,
            last_ns=self._receipts.last_ns,
            stopped_ns=self._stopped_ns,
            cpu_s=self._meter.cpu_s,
            busy=self._busy,
            latency=self._receipts.latency,
        )
        for client in self._clients:
            _add(result, client, due)
        return result

    async def leave(self) -> None:
        """End all calls."""
        await asyncio.gather(*(client.leave() for client in self._clients))

    def tick(self) -> Tick:
        """The progress so far."""
        return Tick(self._joined, sum(sender.sent for sender in self._senders.values()), self._receipts.messages)

    async def _stop(self, stop: asyncio.Event, stop_ns: int) -> None:
        """Stop the senders when the time is over, when the parent says so, or when no client is left."""
        ordered: asyncio.Task[object] = asyncio.create_task(stop.wait())
        gone: asyncio.Task[object] = asyncio.create_task(self._gone())
        await asyncio.wait([ordered, gone], timeout=(stop_ns - time.monotonic_ns()) / 1e9, return_when=FIRST_COMPLETED)
        ordered.cancel()
        gone.cancel()
        for sender in self._senders.values():
            sender.stop()

    async def _gone(self) -> None:
        for client in self._clients:
            await client.gone()

    async def _until(self, done: Callable[[], bool]) -> None:
        """Wait until ``done()``, or until nothing has arrived for ``grace_s``."""
        since_ns = time.monotonic_ns()
        while not done():
            quiet_ns = time.monotonic_ns() - max(since_ns, self._receipts.active_ns)
            if quiet_ns > self._plan.options.grace_s * 1e9:
                return
            await asyncio.sleep(_LOOK_S)


def _add(result: Result, client: Client, due: Mapping[int, Due]) -> None:
    """Add to a result what one client found."""
    result.servers[client.server] += 1
    if sender := client.sender:
        result.sent += sender.sent
        result.acknowledged += sender.acknowledged
        result.refused += sender.refused
        result.reasons.update(sender.reasons)
    if client.error:  # it knows that it will not get everything
        code = "CONNECTION_LOST" if isinstance(client.error, ConnectionLost) else client.error.code.name
        result.disconnected[code] += 1
        result.reasons.setdefault(code, client.error.reason)
    else:
        result.unacknowledged += client.sender.unanswered if client.sender else 0
        client.checker.faults.lost = sum(client.checker.missing(due).values())
    if faults := client.checker.faults:
        result.faults.add(faults)
        result.examples.append(f"client {client.number}: {faults}")
    del result.examples[MAX_EXAMPLES:]
