"""A forked process has none of gRPC's threads, and the connections belong to its parent.

So a chat that was open at the fork raises an error when the child uses it, and so does a new chat there: gRPC would
wait for its threads for ever.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

from bcast_grpc.errors import CallError, ChatClosed, ErrorCode

_REMEDY = "connect after the fork, or start the process with 'spawn' or 'forkserver'"


class Inherited(Protocol):
    """Something that belongs to the process that made it."""

    def disown(self) -> None:
        """Refuse to work from now on: this is a forked child of that process."""


_connections = 0
_is_cut_off = False
_owned: WeakSet[Inherited] = WeakSet()


def check() -> None:
    """Check that gRPC works in this process.

    Raises:
        CallError: the process was forked while a chat was open.
    """
    if _is_cut_off:
        reason = f"this process was forked while a chat was open, so gRPC does not work in it; {_REMEDY}"
        raise CallError(ErrorCode.UNSPECIFIED, reason)


def not_ours() -> ChatClosed:
    """The error of a chat that a parent process opened."""
    return ChatClosed(f"this chat belongs to the parent process, which opened it; {_REMEDY}")


def own(thing: Inherited) -> None:
    """Have ``disown()`` called after a fork, in the child."""
    _owned.add(thing)


def opened() -> None:
    """Count an open connection."""
    global _connections  # there is one gRPC in a process
    _connections += 1


def closed() -> None:
    """Count a closed connection."""
    global _connections
    _connections -= 1


def _in_child() -> None:
    global _is_cut_off, _connections
    _is_cut_off = _is_cut_off or _connections > 0
    for thing in list(_owned):
        thing.disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
