"""Shares the event loop among coroutines, each of which has some work to do."""

from __future__ import annotations

import asyncio

from bcast_grpc.transport.by_address import ByAddress


class OneByOne:
    """Lets coroutines go on, one in each pass of the loop, and everything else runs in between.

    Addresses take turns, and the connections of an address do. Those who wait do not make others wait for a turn, as in
    ``Turns``.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting = ByAddress[asyncio.Future[None]]()
        self._running = False

    async def turn(self, peer: str) -> None:
        """Wait until it is the turn of the client at ``peer``: at once, if nobody had one in this pass of the loop."""
        if self._running:
            turn: asyncio.Future[None] = self._loop.create_future()
            self._waiting.add(peer, turn)
            await turn
        else:
            self._running = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        self._running = False
        while self._waiting and not self._running:
            turn = self._waiting.take()
            if not turn.done():  # or it was cancelled
                self._running = True
                turn.set_result(None)
                self._loop.call_soon(self._next)
