"""``python -m bcast_grpc.server``: the only place that reads the server's arguments and environment."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

from bcast_grpc.server import running, signals
from bcast_grpc.server.arguments import format_config, load
from bcast_grpc.server.output import Output, open_missing
from bcast_grpc.settings import Settings, SettingsError
from bcast_grpc.transport.address import CannotStart

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
        return running.NOT_STARTED
    if loaded.print_config:
        try:
            print(format_config(loaded), end="", flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit would fail again
        return running.DONE
    settings = loaded.settings
    running.set_up_process(settings)
    if settings.workers == 1:
        return running.run(partial(serve, settings))
    return running.run(partial(supervise, settings), asyncio.new_event_loop)


async def serve(settings: Settings, ending: signals.Ending) -> int:
    """Serve until a signal, then drain; return the exit code. A second signal ends at once."""
    try:
        server = await running.start(settings, ending)
    except CannotStart as error:
        print(error, file=sys.stderr)
        return running.NOT_STARTED
    if not server:
        return running.DONE
    stdout = _say(server.urls)
    await ending.asked.wait()
    await server.drain()
    stdout.flush(_LAST_LINES_S)
    return running.DONE


async def supervise(settings: Settings, ending: signals.Ending) -> int:
    """Serve with several processes until a signal, then drain; return the exit code. A second signal ends at once."""
    from bcast_grpc.server.workers.supervisor import Supervisor

    supervisor = Supervisor(settings)
    try:
        started = await running.unless_asked(ending, supervisor.start())
    except CannotStart as error:
        await supervisor.stop()
        print(error, file=sys.stderr)
        return running.NOT_STARTED
    if not started:
        await supervisor.stop()
        return running.DONE
    if supervisor.reloads:
        ending.reload_on_hangup(supervisor.reload)
    stdout = _say(supervisor.urls)
    await supervisor.serve(ending.asked)
    is_sound = await supervisor.stop()
    stdout.flush(_LAST_LINES_S)
    return running.DONE if is_sound else running.FAULT


def _say(urls: Iterable[str]) -> Output:
    stdout = Output(sys.stdout, "{} lines were dropped".format)
    for url in urls:
        stdout.put(f"listening on {url}")
    return stdout


if __name__ == "__main__":
    sys.exit(main())
