"""One of the processes that serve a server's clients: ``supervisor`` starts it, and tells it what to do.

It is told over a socket: one line with the settings. It answers with one line: what it listens on, or why it cannot
start. Empty lines before and after that say that its loop runs. The end of the socket says that the supervisor is gone.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from socket import MSG_DONTWAIT, socket
from typing import NoReturn

from bcast_grpc.server import running, signals
from bcast_grpc.server.output import open_missing
from bcast_grpc.server.processes import BEAT, LOOK_S
from bcast_grpc.server.share import Worker
from bcast_grpc.settings import Settings
from bcast_grpc.transport.address import CannotStart

_MARGIN_S = 10.0
_GONE = "the process that started this one is gone"


def main() -> int:
    """Run a worker; return the exit code. The arguments are its number, and the descriptor of the socket."""
    open_missing()
    signals.hold()
    number, descriptor = map(int, sys.argv[1:])
    supervisor = _inherit(descriptor)
    with supervisor.makefile("rb") as lines:
        line = lines.readline()
    if not line:
        return running.FAULT
    told = json.loads(line)
    settings = Settings.model_validate(told["settings"])
    sockets = {setting: [_inherit(one) for one in descriptors] for setting, descriptors in told["sockets"].items()}
    running.set_up_process(settings, number)
    return running.run(partial(serve, settings, Worker(number, settings.workers, sockets), supervisor))


async def serve(settings: Settings, worker: Worker, supervisor: socket, ending: signals.Ending) -> int:
    """Serve until a signal or the supervisor's end, then drain; return the exit code."""
    beating = asyncio.create_task(_beat(supervisor))  # noqa: F841, RUF006  # until the loop ends
    watch = partial(_wait_for_the_end, supervisor, ending, settings.drain_s)
    threading.Thread(target=watch, name="waits for the supervisor", daemon=True).start()
    try:
        server = await running.start(settings, ending, worker)
    except CannotStart as error:
        _tell(supervisor, cannot_start=str(error))
        return running.NOT_STARTED
    if not server:
        return running.DONE
    _tell(supervisor, urls=list(server.urls), reloads=bool(server.reload))
    await ending.asked.wait()
    await server.drain()
    return running.DONE


def _inherit(descriptor: int) -> socket:
    one = socket(fileno=descriptor)
    one.set_inheritable(False)
    return one


async def _beat(supervisor: socket) -> NoReturn:
    """Say now and then that the loop runs. If the supervisor does not read, it does not wait for that either."""
    while True:
        with suppress(OSError):
            supervisor.send(BEAT, MSG_DONTWAIT)
        await asyncio.sleep(LOOK_S)


def _tell(supervisor: socket, **said: object) -> None:
    with suppress(OSError):  # it is gone, which is noticed anyway
        supervisor.sendall(json.dumps(said).encode() + b"\n")


def _wait_for_the_end(supervisor: socket, ending: signals.Ending, drain_s: float) -> None:
    """End this worker when the supervisor is gone: well, then at once."""
    with suppress(OSError):
        while supervisor.recv(1024):
            pass
    ending.wish(_GONE)
    time.sleep(drain_s + _MARGIN_S)
    ending.wish(_GONE)


if __name__ == "__main__":
    sys.exit(main())
