"""One of the processes that serve a server's clients: ``supervisor`` starts it, and tells it what to do.

It is told over a socket what the settings are, and says there what it listens on, or why it cannot start (``link``).
The end of the socket says that the supervisor is gone.
"""

from __future__ import annotations

import asyncio
import json
import select
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from socket import socket
from typing import NoReturn

from bcast_grpc.server import running, signals
from bcast_grpc.server.output import open_missing
from bcast_grpc.server.processes import LOOK_S
from bcast_grpc.server.share import Worker
from bcast_grpc.server.workers.link import ANSWERS_S, Link
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
    watch = partial(_wait_for_the_end, supervisor.dup(), ending, settings.drain_s)
    threading.Thread(target=watch, name="waits for the supervisor", daemon=True).start()
    siblings = Siblings(worker)
    link = siblings.link = await Link.open(supervisor, siblings.answer)
    talking = [asyncio.create_task(link.hear(int)), asyncio.create_task(_beat(link))]  # noqa: F841  # until the loop ends
    try:
        server = await running.start(settings, ending, replace(worker, siblings=siblings))
    except CannotStart as error:
        link.tell({"cannot_start": str(error)})
        link.close()
        await link.wait_closed()
        return running.NOT_STARTED
    if not server:
        return running.DONE
    link.tell({"urls": list(server.urls), "reloads": bool(server.reload)})
    await ending.asked.wait()
    await server.drain()
    return running.DONE


def _inherit(descriptor: int) -> socket:
    one = socket(fileno=descriptor)
    one.set_inheritable(False)
    return one


class Siblings:
    """The other workers of the server, which the supervisor asks.

    Args:
        worker: this one.

    Attributes:
        number: which one this is.
        link: to the supervisor; set before anybody is asked.
    """

    link: Link

    def __init__(self, worker: Worker) -> None:
        self.number = worker.number
        self._others = [number for number in range(1, worker.of + 1) if number != worker.number]
        self._answer: Callable[[str], str] = str

    def show(self, answer: Callable[[str], str]) -> None:
        """From now on, answer their questions with what this returns."""
        self._answer = answer

    async def answer(self, question: str) -> str:
        """Answer another worker's question."""
        return self._answer(question)

    async def ask(self, question: str) -> Mapping[int, str | None]:
        """Return their answers by their numbers; None for one that does not serve, or does not answer in time."""
        answers: Mapping[str, str | None] = {}
        with suppress(TimeoutError):
            answers = await self.link.ask(question, 2 * ANSWERS_S)
        return {number: answers.get(f"{number}") for number in self._others}


async def _beat(link: Link) -> NoReturn:
    """Say now and then that the loop runs."""
    while True:
        link.beat()
        await asyncio.sleep(LOOK_S)


def _wait_for_the_end(supervisor: socket, ending: signals.Ending, drain_s: float) -> None:
    """End this worker when the supervisor is gone: well, then at once. The loop may be stuck, so a thread does it."""
    gone = select.poll()
    gone.register(supervisor, select.POLLRDHUP)
    gone.poll()
    ending.wish(_GONE)
    time.sleep(drain_s + _MARGIN_S)
    ending.wish(_GONE)


if __name__ == "__main__":
    sys.exit(main())
