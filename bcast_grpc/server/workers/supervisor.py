"""Serves with several processes on the same ports: starts them, starts them again when they die, and ends them."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from bcast_grpc.server.addresses import addresses, check_exposure
from bcast_grpc.server.processes import Backoff
from bcast_grpc.server.shared_store import embedded_nats
from bcast_grpc.server.workers.child import Child, Ready
from bcast_grpc.server.workers.link import ANSWERS_S
from bcast_grpc.settings import EMBEDDED, Settings
from bcast_grpc.transport.address import CannotStart
from bcast_grpc.transport.shared_ports import SharedPort

if TYPE_CHECKING:
    from bcast_grpc.server.embedded.nats import EmbeddedNats

logger = logging.getLogger(__name__)

_ATTEMPTS = 5
_MARGIN_S = 10.0


class Supervisor:
    """The processes of one server: workers, each with clients of its own, and a NATS server if one is to be started.

    Args:
        settings: the server's. Workers with ``memory:`` share a NATS server that ends with them.

    Attributes:
        urls: what workers listen on, once started, gRPC first.
        reloads: whether they have files to reload.
    """

    def __init__(self, settings: Settings) -> None:
        if settings.store == "memory:":
            settings = settings.model_copy(update={"store": EMBEDDED})
        self.urls: Sequence[str] = ()
        self.reloads = False
        self._settings = settings
        self._nats: EmbeddedNats | None = None
        self._ports: dict[str, SharedPort] = {}
        self._posts: list[Post] = []
        self._lost = asyncio.Event()

    async def start(self) -> None:
        """Start everything, and wait until all workers serve clients.

        Raises:
            CannotStart: they do not; what was started has to be stopped.
        """
        settings = self._settings
        if sys.platform != "linux":
            raise CannotStart(f"workers={settings.workers}: only Linux divides a port's connections among processes")
        check_exposure(settings)
        for address in addresses(settings):
            self._ports[address.setting] = SharedPort(address)
        if settings.store.startswith(EMBEDDED):
            self._nats = embedded_nats(settings)
            await self._nats.start()
            settings = self._nats.used_by(settings)

        picked = {setting.replace("-", "_"): port.port for setting, port in self._ports.items()}
        settings = settings.model_copy(update=picked)  # other servers are told the port

        def start(number: int) -> Child:
            sockets = {setting: port.bind() for setting, port in self._ports.items()}
            return Child(number, settings, sockets, partial(self._ask_others, number))

        self._posts = [Post(number, start, self._check) for number in range(1, settings.workers + 1)]
        said = await asyncio.gather(*(post.fill() for post in self._posts))
        self.urls, self.reloads = said[0].urls, any(one.reloads for one in said)
        logger.info("%d workers serve: processes %s", len(said), ", ".join(str(post.pid) for post in self._posts))

    async def serve(self, asked: asyncio.Event) -> None:
        """Keep all workers running until ``asked``, or until none of them can be started."""
        keeping = [asyncio.create_task(post.keep()) for post in self._posts]
        ends = [asyncio.create_task(event.wait()) for event in (asked, self._lost)]
        try:
            done, _ = await asyncio.wait([*ends, *keeping], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a fault is told as one
        finally:
            for task in (*ends, *keeping):
                task.cancel()
            await asyncio.gather(*ends, *keeping, return_exceptions=True)

    def reload(self) -> None:
        """Have all workers read their files again."""
        for post in self._posts:
            post.send(signal.SIGHUP)

    async def stop(self) -> bool:
        """Drain all workers, then end NATS; return whether all ended well."""
        for port in self._ports.values():
            port.close()
        codes = await asyncio.gather(*(post.end(self._settings.drain_s + _MARGIN_S) for post in self._posts))
        if self._nats:
            await self._nats.stop()
        return not any(codes) and not self._lost.is_set()

    async def _ask_others(self, number: int, question: str) -> Mapping[str, object]:
        """Ask all workers but one something for it; return their answers by their numbers, None where there is none."""
        others = [post for post in self._posts if post.number != number]
        answers = await asyncio.gather(*(post.ask(question) for post in others))
        return {f"{post.number}": answer for post, answer in zip(others, answers, strict=True)}

    def _check(self) -> None:
        if all(post.failures >= _ATTEMPTS for post in self._posts):
            logger.critical("no worker can be started: giving up")
            self._lost.set()


class Post:
    """What one worker does, and the next one after it has died.

    Args:
        number: the worker's, from 1.
        start: starts its process.
        failed: called when it has died.

    Attributes:
        number: the worker's.
        failures: how often its process ended in a row, without having served clients since.
    """

    def __init__(self, number: int, start: Callable[[int], Child], failed: Callable[[], None]) -> None:
        self.number = number
        self.failures = 0
        self._start = start
        self._failed = failed
        self._child: Child | None = None
        self._serves = False
        self._began = 0.0

    @property
    def pid(self) -> int:
        """Its process."""
        return self._child.pid if self._child else 0

    async def fill(self) -> Ready:
        """Start a worker, and wait until it serves clients.

        Raises:
            CannotStart: it does not.
        """
        self._began = time.monotonic()
        try:
            self._child = self._start(self.number)
        except OSError as error:
            raise CannotStart(f"a worker's process cannot be started: {error.strerror}") from None
        ready = await self._child.ready()
        self._serves = True
        self.failures = 0
        return ready

    async def keep(self) -> None:
        """Start a worker again whenever it has ended."""
        backoff = Backoff()
        why = said = ""
        while self._child:
            code = await asyncio.shield(self._child.ended)
            self._child.close()
            self._serves = False
            self.failures += 1
            self._failed()
            why = why or f"process {self.pid} {self._child.how}"
            wait_s = backoff.next_s(time.monotonic() - self._began)
            if why != said:
                level = logging.ERROR if code else logging.INFO  # somebody drained this one alone
                logger.log(level, "worker %d: %s; it is started again in %.1f s", self.number, why, wait_s)
            said, why = why, ""
            await asyncio.sleep(wait_s)
            try:
                await self.fill()
            except CannotStart as error:
                why = str(error)
            else:
                said = ""
                logger.info("worker %d serves again: process %d", self.number, self.pid)

    async def ask(self, question: str) -> object:
        """Ask its process something; return None if that does not serve clients, or does not answer in time."""
        if not self._child or not self._serves:
            return None
        try:
            return await self._child.ask(question, ANSWERS_S)
        except TimeoutError:
            return None

    def send(self, number: signal.Signals) -> None:
        """Send its process a signal, if it serves clients; else it has just begun, and may not be ready for signals."""
        if self._child and self._serves:
            self._child.send(number)

    async def end(self, patience_s: float) -> int:
        """Drain it, and return its exit code. One that does not serve clients yet, or does not end, is killed."""
        if not self._child:
            return 0
        if not self._serves:
            self._child.send(signal.SIGKILL)
            await self._child.ended
            return 0
        self._child.send(signal.SIGTERM)
        done, _ = await asyncio.wait([self._child.ended], timeout=patience_s)
        if not done:
            logger.error("worker %d does not end, and is killed", self.number)
            self._child.send(signal.SIGKILL)
        code = await self._child.ended
        if done and code:
            logger.error("worker %d: process %d %s", self.number, self.pid, self._child.how)
        return code
