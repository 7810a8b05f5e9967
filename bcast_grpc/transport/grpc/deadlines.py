"""How long a client may take to begin, and to send the header fields of a request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from bcast_grpc.http2 import ErrorCode
from bcast_grpc.transport.grpc.hang_up import HangUp

logger = logging.getLogger(__name__)


class Deadlines:
    """Disconnects a client that takes longer than ``limit_s`` for one of these.

    Args:
        hang_up: ends the connection.
        limit_s: the limit, in seconds.
        peer: the client's address.

    Attributes:
        block: the timer that runs while the header fields of a request are incomplete; None if they are not.
    """

    __slots__ = ("_handshake", "_hang_up", "_limit_s", "_peer", "block")

    def __init__(self, hang_up: HangUp, limit_s: float, peer: str) -> None:
        self._hang_up = hang_up
        self._limit_s = limit_s
        self._peer = peer
        self._handshake: asyncio.TimerHandle | None = self._later(self._refuse_late)
        self.block: asyncio.TimerHandle | None = None

    def look(self, *, in_block: bool) -> None:
        """Begin or end the time for the header fields of a request."""
        if not self.block:
            self.block = self._later(self._refuse_slow)
        elif not in_block:
            self.block.cancel()
            self.block = None

    def stop(self) -> None:
        """Limit nothing any more: the handshake is done, or the connection has ended."""
        for timer in (self._handshake, self.block):
            if timer:
                timer.cancel()
        self._handshake = self.block = None

    def _later(self, refuse: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._limit_s, refuse)

    def _refuse_late(self) -> None:
        self._handshake = None
        logger.debug("%s did not finish the handshake in time", self._peer)
        self._hang_up.refuse(ErrorCode.SETTINGS_TIMEOUT)

    def _refuse_slow(self) -> None:
        self.block = None
        logger.debug("%s did not finish the fields of a request in time", self._peer)
        self._hang_up.refuse(ErrorCode.ENHANCE_YOUR_CALM)
