"""Bounds how many messages are decompressed at once: one of some kilobytes may become four megabytes."""

from __future__ import annotations

import asyncio
from typing import Protocol

from google.rpc import code_pb2

from bcast_grpc.transport.grpc.messages import StatusError

AT_ONCE, OF_ONE = 4, 2
"""How many calls may have a message unpacked at once, and how many of one address; the others wait with theirs
compressed. So an address that stops with all that it has does not make the others wait."""

PATIENCE_S = 5.0
"""How long a call may keep others waiting because its client does not read the answers."""


class Unpacks(Protocol):
    """A call that has messages to unpack.

    Attributes:
        network: its client's address.
    """

    network: str

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
    """Which calls have a message unpacked, and which wait for that: addresses take turns, and the calls of each do."""

    __slots__ = ("_inside", "_loop", "_timer", "_waiting")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._inside: dict[Unpacks, float] = {}  # since when
        self._waiting: dict[str, dict[Unpacks, None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, call: Unpacks) -> bool:
        """Return whether a call may unpack a message, and then ``leave()``. If not, ``read_on()`` is called later."""
        if call in self._inside:
            return True
        if len(self._inside) < AT_ONCE and self._may_begin(call.network):
            self._inside[call] = self._loop.time()
            return True
        self._waiting.setdefault(call.network, {})[call] = None
        self._look_later()
        return False

    def leave(self, call: Unpacks) -> None:
        """Let another call unpack. Does nothing if this call neither unpacks nor waits."""
        if call in self._waiting.get(call.network, ()):
            self._take(call)
        if self._inside.pop(call, None) is not None:
            self._let_next_in()

    def _may_begin(self, network: str) -> bool:
        return [call.network for call in self._inside].count(network) < OF_ONE

    def _let_next_in(self) -> None:
        network = next(filter(self._may_begin, self._waiting), None)
        if network is not None:
            following = next(iter(self._waiting[network]))
            self._take(following)
            if network in self._waiting:
                self._waiting[network] = self._waiting.pop(network)  # the last one now
            self._inside[following] = self._loop.time()
            self._loop.call_soon(following.read_on)

    def _take(self, call: Unpacks) -> None:
        """Take a call out of those that wait."""
        waiting = self._waiting[call.network]
        del waiting[call]
        if not waiting:
            del self._waiting[call.network]

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
