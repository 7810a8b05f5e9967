"""A worker, as the supervisor sees it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from socket import socket, socketpair
from typing import Any, NamedTuple

from bcast_grpc.server.processes import Watchdog, outlast, say_how, when_ended
from bcast_grpc.server.workers.link import Answer, Link
from bcast_grpc.settings import Settings
from bcast_grpc.transport.address import CannotStart

_STARTS_S = 60.0
"""So long may a worker take to import what it needs, on a machine that is busy."""


class Ready(NamedTuple):
    """What a worker says when it serves clients.

    Attributes:
        urls: what it listens on.
        reloads: whether it has files to reload.
    """

    urls: Sequence[str]
    reloads: bool


class Child:
    """A worker's process.

    Args:
        number: which worker it is, from 1.
        settings: the server's.
        sockets: bound to its ports, by the name of the port's setting; they are closed here, and open there.
        answer: answers its questions.

    Attributes:
        ended: its exit code, once it has ended.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(
        self, number: int, settings: Settings, sockets: Mapping[str, Sequence[socket]], answer: Answer
    ) -> None:
        self._number = number
        self._answer = answer
        self._link: Link | None = None
        self._ours, theirs = socketpair()
        handed = {setting: [one.fileno() for one in some] for setting, some in sockets.items()}
        self._told = {"settings": settings.model_dump(mode="json", exclude_unset=True), "sockets": handed}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "bcast_grpc.server.workers.worker", str(number), str(theirs.fileno())],
                pass_fds=[theirs.fileno(), *(one for some in handed.values() for one in some)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C and the terminal's end are for the supervisor, which passes them on
            )
        for some in sockets.values():
            for one in some:
                one.close()
        self.pid = self._process.pid
        self.ended = when_ended(self._process)
        self._watchdog = Watchdog(_STARTS_S)
        self._hung = False
        self._watching: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[object] | None = None

    async def ready(self) -> Ready:
        """Tell it what to do, and wait until it serves clients. From now on it is killed if it hangs.

        Raises:
            CannotStart: it does not; the text says why.
        """
        self._watching = asyncio.create_task(self._watch())
        self._link = link = await Link.open(self._ours, self._answer)
        link.tell(self._told)
        said = await link.hear(self._watchdog.hear)
        if not said:
            await self.ended
            raise CannotStart(f"worker {self._number} {self.how} before it was ready")
        if why := said.get("cannot_start"):
            raise CannotStart(why)
        self._listening = asyncio.create_task(link.hear(self._watchdog.hear))
        return Ready(said["urls"], said["reloads"])

    async def ask(self, question: str, patience_s: float) -> Any:
        """Return its answer to a question, once it is ready.

        Raises:
            TimeoutError: it does not answer in time.
        """
        assert self._link
        return await self._link.ask(question, patience_s)

    async def _watch(self) -> None:
        """Kill it if it hangs."""
        self._hung = await outlast(self._process, self.ended, self._watchdog)

    @property
    def how(self) -> str:
        """How it ended, in words."""
        if self._hung:
            return f"gave no sign of life for {self._watchdog.patience_s:g} s, and was killed"
        return say_how(self.ended.result())

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it has not ended."""
        self._process.send_signal(number)

    def close(self) -> None:
        """Forget it, once it has ended."""
        for task in (self._watching, self._listening):
            if task:
                task.cancel()
        if self._link:
            self._link.close()
        else:
            self._ours.close()
