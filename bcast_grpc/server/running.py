"""What the processes of a server do alike: they set themselves up, start a ``Server``, and wait for a signal."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from bcast_grpc.event_loop import new_event_loop, spare_collections
from bcast_grpc.server import signals
from bcast_grpc.server.logs import set_up, take_over_stderr
from bcast_grpc.server.machine.descriptors import raise_limit
from bcast_grpc.server.share import ALONE, Worker
from bcast_grpc.settings import Settings

if TYPE_CHECKING:
    from bcast_grpc.server.server import Server

logger = logging.getLogger("bcast_grpc.server")

DONE, FAULT, NOT_STARTED = 0, 1, 2
"""The exit codes."""


def set_up_process(settings: Settings, worker: int = 0) -> None:
    """Prepare the process: its log, its limits.

    Args:
        settings: the server's.
        worker: which of several processes this is; 0 for the only one.
    """
    take_over_stderr(set_up(settings.log_level, settings.log_format, worker))
    raise_limit()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's threads write to stderr, and would wait for its reader


def run(
    main: Callable[[signals.Ending], Coroutine[Any, Any, int]],
    new_loop: Callable[[], asyncio.AbstractEventLoop] = new_event_loop,
) -> int:
    """Run a program that signals end; return its exit code. Signals are held until then, and at the end.

    Args:
        main: the program; it is told which signals came.
        new_loop: makes its event loop.
    """

    async def begin() -> int:
        ending = signals.Ending()
        signals.release()
        return await main(ending)

    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(begin())
    finally:
        signals.hold()


async def start(settings: Settings, ending: signals.Ending, worker: Worker = ALONE) -> Server | None:
    """Start a server; return None if a signal came before that.

    Raises:
        CannotStart: it cannot start.
    """
    from bcast_grpc.server.server import Server  # gRPC reads GRPC_VERBOSITY when it is imported

    server = Server(settings, worker)
    if not await unless_asked(ending, server.start()):
        return None
    if server.reload:
        ending.reload_on_hangup(server.reload.soon)
    spare_collections()
    _put_loop_first()
    return server


async def unless_asked(ending: signals.Ending, starting: Coroutine[Any, Any, object]) -> bool:
    """Wait until something has started. If a signal comes first, it is cancelled: it may take long. Whether it has."""
    start, asked = asyncio.create_task(starting), asyncio.create_task(ending.asked.wait())
    try:
        await asyncio.wait([start, asked], return_when=asyncio.FIRST_COMPLETED)
        if start.done():
            start.result()
            return True
        return False
    finally:
        for task in (start, asked):
            task.cancel()
        await asyncio.gather(start, asked, return_exceptions=True)


def _put_loop_first() -> None:
    """Keep gRPC's poller thread from interrupting the loop for each completed read and write.

    If both share a core, that saves two switches each time. Unlike a lower priority, it leaves the poller its share.
    """
    if not hasattr(os, "SCHED_BATCH"):  # only Linux has it
        return
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.native_id:
            try:
                os.sched_setscheduler(thread.native_id, os.SCHED_BATCH, os.sched_param(0))
            except OSError as error:
                logger.debug("no SCHED_BATCH for %s: %s", thread.name, error)
