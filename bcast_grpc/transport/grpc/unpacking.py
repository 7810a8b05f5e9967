"""Bounds how many messages are decompressed at once: one of some kilobytes may become four megabytes."""

from __future__ import annotations

import asyncio
from typing import Protocol

from google.rpc import code_pb2

from bcast_grpc.transport.grpc.messages import StatusError

AT_ONCE = 4
"""How many calls may have a message unpacked at once; the others wait with theirs compressed."""

PATIENCE_S = 5.0
"""How long a call may keep others waiting because its client does not read the answers."""


class Unpacks(Protocol):
    """A call that has messages to unpack."""

    @property
    def stalled(self) -> bool:
        """Whether it waits until its client has read more of the answers."""
        ...

    def read_on(self) -> None:
        """Go on: the call may unpack now."""
        ...

    def fail(self, error: StatusError) -> None:
        """End the call with an error."""
        ...


class Unpacking:
    """Which calls have a message unpacked, and which wait for that, in turn."""

    __slots__ = ("_inside", "_loop", "_timer", "_waiting")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._inside: dict[Unpacks, float] = {}  # since when
        self._waiting: dict[Unpacks, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, call: Unpacks) -> bool:
        """Return whether a call may unpack a message, and then ``leave()``. If not, ``read_on()`` is called later."""
        if call in self._inside:
            return True
        if len(self._inside) < AT_ONCE:
            self._inside[call] = self._loop.time()
            return True
        self._waiting[call] = None
        self._look_later()
        return False

    def leave(self, call: Unpacks) -> None:
        """Let another call unpack. Does nothing if this call neither unpacks nor waits."""
        self._waiting.pop(call, None)
        if self._inside.pop(call, None) is not None and self._waiting:
            following = next(iter(self._waiting))
            del self._waiting[following]
            self._inside[following] = self._loop.time()
            self._loop.call_soon(following.read_on)

    def _look_later(self) -> None:
        if self._waiting and not self._timer:
            self._timer = self._loop.call_later(PATIENCE_S, self._look)

    def _look(self) -> None:
        """End the calls that have kept others waiting for too long because their clients do not read."""
        self._timer = None
        if self._waiting:
            before = self._loop.time() - PATIENCE_S
            for call in [call for call, since in self._inside.items() if since <= before and call.stalled]:
                call.fail(_unread())
        self._look_later()


def _unread() -> StatusError:
    return StatusError(
        code_pb2.RESOURCE_EXHAUSTED,
        "the answers to a compressed message are not read, while other calls wait; read while you send",
    )
