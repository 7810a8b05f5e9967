"""What a forked process cannot have of its parent: gRPC's threads, which are not there, and the parent's connections.

So a chat that was open then says so to whoever uses it in the child, and so does a new one there: gRPC would wait for
its threads for ever.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

from bcast_grpc.errors import CallError, ChatClosed, ErrorCode

_REMEDY = "connect after the fork, or start the process with 'spawn' or 'forkserver'"


class Inherited(Protocol):
    """What belongs to the process that made it."""

    def disown(self) -> None:
        """Be of no use from now on: this is a child of that process."""


_connections = 0
_is_cut_off = False
_owned: WeakSet[Inherited] = WeakSet()


def check() -> None:
    """Check that gRPC works in this process.

    Raises:
        CallError: it was forked while a chat was open.
    """
    if _is_cut_off:
        reason = f"a chat was open when this process was forked, and gRPC does not work in it; {_REMEDY}"
        raise CallError(ErrorCode.UNSPECIFIED, reason)


def not_ours() -> ChatClosed:
    """The error of a chat that a parent process opened."""
    return ChatClosed(
        f"this chat belongs to the process that opened it, not to one that was forked from that; {_REMEDY}"
    )


def own(thing: Inherited) -> None:
    """Have it told if it finds itself in a child."""
    _owned.add(thing)


def opened() -> None:
    """Count a connection that a child cannot have."""
    global _connections  # there is one gRPC in a process
    _connections += 1


def closed() -> None:
    """Count one less."""
    global _connections
    _connections -= 1


def _in_child() -> None:
    global _is_cut_off, _connections
    _is_cut_off = _is_cut_off or _connections > 0
    for thing in list(_owned):
        thing.disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
