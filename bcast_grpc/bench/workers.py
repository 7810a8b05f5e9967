"""The worker processes of the bench, from their start to their end, as the parent sees them."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import resource
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any, TypeAlias, TypeVar

from bcast_grpc.bench.link import Await, Failed, Joined, Link, Result, Sent, Start, Stop, Tick
from bcast_grpc.bench.load import work
from bcast_grpc.bench.plan import Plan
from bcast_grpc.bench.report import Outcome, merged

Show: TypeAlias = Callable[[list[Tick]], None]

T = TypeVar("T")

_LEAD_NS = 100_000_000
"""How long before the start the workers are given its time."""

_FILES_EACH, _FILES_BESIDES = 1, 64
"""How many files a worker opens for each client, and for itself."""

_LEAVING_S = 10.0
_SHOW_S = 0.25


class CannotWork(Exception):
    """This machine or its settings do not allow such a load; the text says why."""


class Interrupted(Exception):
    """The bench was interrupted before there was anything to measure."""


class Crew:
    """All workers.

    Attributes:
        ticks: the latest progress of each.
    """

    def __init__(self, processes: Sequence[BaseProcess], links: Sequence[Link]) -> None:
        self.ticks = [Tick(0) for _ in processes]
        self._processes = processes
        self._links = links

    def tell(self, message: object) -> None:
        """Send a message to all workers."""
        for link in self._links:
            link.tell(message)

    async def hear(self, kind: type[T]) -> list[T]:
        """Wait until each worker has sent a message of this kind.

        Raises:
            BcastError: a client was not let in.
            CannotWork: a worker ended unexpectedly.
        """
        return await asyncio.gather(*(self._hear_one(number, kind) for number in range(len(self._links))))

    async def _hear_one(self, number: int, kind: type[T]) -> T:
        while True:
            match await self._links[number].hear():
                case Tick() as tick:
                    self.ticks[number] = tick
                case Failed(error):
                    raise error
                case None:
                    self._processes[number].join(_LEAVING_S)
                    code = self._processes[number].exitcode
                    raise CannotWork(f"a worker process ended unexpectedly, with exit code {code}")
                case message if isinstance(message, kind):
                    return message


async def run(plan: Plan, interrupted: asyncio.Event, show: Show) -> Outcome:
    """Run the load to its end; after ``interrupted``, only until the messages in flight have arrived.

    Args:
        plan: the load.
        interrupted: set by a signal.
        show: called regularly with the progress of each worker.

    Raises:
        BcastError: a client was not let in.
        CannotWork: this machine does not allow such a load.
        Interrupted: it was interrupted before the first message.
    """
    _allow_files(plan)
    async with _crew(plan, show) as crew:
        await _unless(interrupted, crew.hear(Joined))
        start_ns = time.monotonic_ns() + _LEAD_NS
        crew.tell(Start(start_ns, start_ns + round(plan.options.duration_s * 1e9)))
        stopping = asyncio.create_task(_stop(crew, interrupted))
        due = {number: each for sent in await crew.hear(Sent) for number, each in sent.due.items()}
        crew.tell(Await(due))
        results = await crew.hear(Result)
        stopping.cancel()
    return Outcome(plan, start_ns, merged(results), interrupted.is_set())


async def _unless(interrupted: asyncio.Event, coming: Coroutine[Any, Any, object]) -> None:
    awaited, ended = asyncio.create_task(coming), asyncio.create_task(interrupted.wait())
    try:
        await asyncio.wait([awaited, ended], return_when=asyncio.FIRST_COMPLETED)
        if not awaited.done():
            raise Interrupted
        await awaited
    finally:
        awaited.cancel()
        ended.cancel()


async def _stop(crew: Crew, interrupted: asyncio.Event) -> None:
    await interrupted.wait()
    crew.tell(Stop())


async def _show(crew: Crew, show: Show) -> None:
    while True:
        show(crew.ticks)
        await asyncio.sleep(_SHOW_S)


@asynccontextmanager
async def _crew(plan: Plan, show: Show) -> AsyncIterator[Crew]:
    """Start the workers, and end them all at the end."""
    processes, links = [], []
    context = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
    resource_tracker.ensure_running()  # otherwise its start would unblock Ctrl-C for the first worker
    for number in range(plan.options.processes):
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(plan, number, theirs), daemon=True)
        _start_deaf(process)
        theirs.close()
        processes.append(process)
        links.append(Link(ours))
    crew = Crew(processes, links)
    showing = asyncio.create_task(_show(crew, show))
    try:
        yield crew
        for process in processes:
            await asyncio.to_thread(process.join, _LEAVING_S)
    finally:
        showing.cancel()
        for process, link in zip(processes, links, strict=True):
            process.terminate()
            link.close()
            process.join()
        with suppress(asyncio.CancelledError):
            await showing


def _start_deaf(process: BaseProcess) -> None:
    """Start a process that ignores Ctrl-C and the end of the terminal: the parent tells it when to stop."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _allow_files(plan: Plan) -> None:
    """Raise the limit of open files to what a worker needs.

    Raises:
        CannotWork: it needs more than this user may open.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = math.ceil(plan.options.clients / plan.options.processes) * _FILES_EACH + _FILES_BESIDES
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise CannotWork(
            f"{plan.options.clients} clients in {plan.options.processes} processes need {needed} open files each, but"
            f" only {hard} are allowed: use more --processes, or raise the limit (ulimit -Hn)"
        )
    if soft != resource.RLIM_INFINITY and needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
