"""``python -m bcast_grpc.server``: the only place that reads the server's arguments and environment."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from contextlib import suppress

from bcast_grpc.event_loop import new_event_loop, spare_collections
from bcast_grpc.server import signals
from bcast_grpc.server.arguments import format_config, load
from bcast_grpc.server.descriptors import raise_limit
from bcast_grpc.server.logs import set_up, take_over_stderr
from bcast_grpc.server.output import Output, open_missing
from bcast_grpc.settings import Settings, SettingsError
from bcast_grpc.transport.address import CannotStart

logger = logging.getLogger("bcast_grpc.server")

_DONE, _NOT_STARTED = 0, 2
_LAST_LINES_S = 1.0


def main() -> int:
    """Run the server until a signal; return the exit code."""
    open_missing()
    signals.hold()
    try:
        loaded = load(sys.argv[1:], os.environ)
    except SettingsError as error:
        with suppress(OSError):
            print(error, file=sys.stderr, flush=True)
        return _NOT_STARTED
    if loaded.print_config:
        try:
            print(format_config(loaded), end="", flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit would fail again
        return _DONE
    settings = loaded.settings
    take_over_stderr(set_up(settings.log_level, settings.log_format))
    raise_limit()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's threads write to stderr, and would wait for its reader
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(serve(settings))
    finally:
        signals.hold()


async def serve(settings: Settings) -> int:
    """Serve until a signal, then drain; return the exit code. A second signal ends at once."""
    ending = signals.Ending()
    signals.release()
    from bcast_grpc.server.server import Server  # gRPC reads GRPC_VERBOSITY when it is imported

    try:
        server = Server(settings)
        await server.start()
        if server.reload:
            ending.reload_on_hangup(server.reload.soon)
    except CannotStart as error:
        print(error, file=sys.stderr)
        return _NOT_STARTED
    spare_collections()
    _put_loop_first()
    stdout = Output(sys.stdout, "{} lines were dropped".format)
    for url in server.urls:
        stdout.put(f"listening on {url}")
    await ending.asked.wait()
    await server.drain()
    stdout.flush(_LAST_LINES_S)
    return _DONE


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


if __name__ == "__main__":
    sys.exit(main())
