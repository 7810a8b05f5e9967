"""``python -m bcast_grpc.server``: the only place that reads the server's arguments and environment."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

from bcast_grpc.server.address import CannotStart
from bcast_grpc.server.arguments import format_config, load
from bcast_grpc.server.logs import set_up
from bcast_grpc.server.server import Server
from bcast_grpc.settings import Settings, SettingsError

try:
    import uvloop
except ImportError:  # Windows, and Pythons that it does not support
    new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
else:
    new_event_loop = uvloop.new_event_loop

logger = logging.getLogger("bcast_grpc.server")

_DONE, _FAULT, _NOT_STARTED = 0, 1, 2


def main() -> int:
    """Run the server until a signal; return the exit code."""
    try:
        loaded = load(sys.argv[1:], os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return _NOT_STARTED
    if loaded.print_config:
        print(format_config(loaded), end="")
        return _DONE
    set_up(loaded.settings.log_level, loaded.settings.log_format)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(serve(loaded.settings))


async def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT, then drain; return the exit code. A second signal ends at once."""
    loop = asyncio.get_running_loop()
    signalled = asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        if signalled.is_set():
            logger.warning("%s again: ending at once", number.name)
            os._exit(_FAULT)
        logger.info("%s", number.name)
        signalled.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    try:
        server = Server(settings)
        await server.start()
    except CannotStart as error:
        print(error, file=sys.stderr)
        return _NOT_STARTED
    _spare_collections()
    _put_loop_first()
    for door in server.doors:
        print(f"listening on {door}", flush=True)
    await signalled.wait()
    await server.drain()
    return _DONE


def _spare_collections() -> None:
    """Keep the garbage collector from stopping the loop: each look at all objects would take some 20 ms.

    What is there now stays for good and need not be looked at again; messages live too short to be looked at often.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _put_loop_first() -> None:
    """Keep gRPC's poller from interrupting the loop for each read and write that is done: it may wait for its turn.

    Where both share a core, that saves two switches each time. Unlike a lower priority it leaves the poller its share.
    """
    if not hasattr(os, "SCHED_BATCH"):  # only Linux has it
        return
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.native_id:
            try:
                os.sched_setscheduler(thread.native_id, os.SCHED_BATCH, os.sched_param(0))
            except OSError as error:
                logger.debug("no SCHED_BATCH for %s: %s", thread.name, error)


if __name__ == "__main__":
    sys.exit(main())
