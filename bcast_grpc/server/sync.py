"""A server in a thread of its own, and the use of any server from threads without an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from bcast_grpc.event_loop import new_event_loop
from bcast_grpc.events import Ack, Member

if TYPE_CHECKING:
    from bcast_grpc.server.server import Server
    from bcast_grpc.transport.scheduler import LoopScheduler


_Started: TypeAlias = "Future[tuple[SyncServer, Callable[[], object]]]"
"""The server, and a function that ends it."""


class SyncServer:
    """A ``Server`` that runs in another thread's event loop. Its methods block, and may be called from any thread.

    ``Server.in_thread()`` starts one. A server that runs in the application's own loop has one as ``Server.sync``.
    """

    def __init__(self, server: Server, scheduler: LoopScheduler) -> None:
        self._server = server
        self._scheduler = scheduler

    @property
    def urls(self) -> Sequence[str]:
        """What the server listens on, gRPC first."""
        return self._server.urls

    @property
    def address(self) -> str:
        """The address for gRPC clients, as ``HOST:PORT``."""
        return self._server.address

    def publish(
        self,
        room: str,
        msg: str = "",
        *,
        data: bytes = b"",
        id: str = "",  # noqa: A002  # as in the contract
        name: str = "",
        client: str = "",
    ) -> Ack:
        """Send a message to everyone in a room, and block until it is in their queues. See ``Server.publish``.

        Raises:
            BcastError: the message was not accepted; ``SHUTTING_DOWN`` if the server has stopped.
            RuntimeError: it was called in the thread of the server's loop, which would wait for itself.
        """
        return self._scheduler.wait(lambda: self._server.publish(room, msg, data=data, id=id, name=name, client=client))

    def members(self, room: str) -> Sequence[Member]:
        """Return the clients in a room, in the order of arrival. See ``Server.members``."""
        return self._scheduler.wait(lambda: self._server.members(room))


@contextmanager
def in_thread(server_in_loop: Callable[[], Server]) -> Iterator[SyncServer]:
    """Run a server in a thread of its own, and drain it at the end.

    Args:
        server_in_loop: makes the server; called in the thread's event loop.
    """
    started: _Started = Future()
    thread = threading.Thread(target=_run, args=(server_in_loop, started), name="bcast-server", daemon=True)
    thread.start()
    server, end = started.result()
    try:
        yield server
    finally:
        end()
        thread.join()


def _run(server_in_loop: Callable[[], Server], started: _Started) -> None:
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_serve(server_in_loop, started))
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)


async def _serve(server_in_loop: Callable[[], Server], started: _Started) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    async with server_in_loop() as server:
        started.set_result((server.sync, lambda: loop.call_soon_threadsafe(ended.set)))
        await ended.wait()
