"""A forked process has none of gRPC's threads, and the connections belong to its parent.

So a chat that was open at the fork raises an error when the child uses it, and so does a new chat there: gRPC would
wait for its threads forever.

After the last chat has closed, gRPC ends its threads in the background. A child that is forked meanwhile would hang
too, or be aborted by gRPC; so a fork waits until the threads have ended. Only Linux tells us which threads there are.
"""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path
from typing import Protocol
from weakref import WeakSet

from bcast_grpc.errors import CallError, ChatClosed, ErrorCode

_END_S = 2.0
"""How long a fork waits for gRPC's threads; they end within milliseconds, unless something still holds a channel."""

_LOOK_S = 0.001

_THREADS = ("event_engine", "grpc_", "lifeguard")
"""The prefixes of the names of gRPC's threads."""

_HANDLERS_ON = os.environ.get("GRPC_ENABLE_FORK_SUPPORT", "0").lower() in ("1", "t", "true", "y", "yes")
"""Whether the application wants gRPC's own fork handlers, which stop the threads themselves."""

_REMEDY = "connect after the fork, or start the process with 'spawn' or 'forkserver'"


class Inherited(Protocol):
    """Something that belongs to the process that made it."""

    def disown(self) -> None:
        """Refuse to work from now on: this is a forked child of that process."""


_connections = 0
_is_ending = False
_is_running = False
_is_cut_off = False
_owned: WeakSet[Inherited] = WeakSet()


def check() -> None:
    """Check that gRPC works in this process.

    Raises:
        CallError: the process was forked while a chat was open, or while gRPC was in use otherwise.
    """
    if _is_cut_off:
        reason = f"this process was forked while a gRPC connection was open, so gRPC does not work in it; {_REMEDY}"
        raise CallError(ErrorCode.UNSPECIFIED, reason)


def not_ours() -> ChatClosed:
    """The error of a chat that a parent process opened."""
    return ChatClosed(f"this chat belongs to the parent process, which opened it; {_REMEDY}")


def own(thing: Inherited) -> None:
    """Call ``thing.disown()`` in the child after a fork."""
    _owned.add(thing)


def opened() -> None:
    """Count an open connection."""
    global _connections  # there is one gRPC in a process
    _connections += 1


def closed() -> None:
    """Count a closed connection."""
    global _connections, _is_ending
    _connections -= 1
    _is_ending = True


def _before() -> None:
    global _is_ending, _is_running
    if _is_ending and not _connections and not _HANDLERS_ON:
        _wait_for_end()
        _is_ending = False
    _is_running = not _HANDLERS_ON and _is_grpc_running()


def _in_child() -> None:
    global _is_cut_off
    _is_cut_off = _is_cut_off or _is_running or _connections > 0
    for thing in list(_owned):
        thing.disown()


def _wait_for_end() -> None:
    until = time.monotonic() + _END_S
    if _is_grpc_running():
        gc.collect()  # after an error, its traceback may hold the channel, and gRPC runs as long as there is one
    while _is_grpc_running() and time.monotonic() < until:
        time.sleep(_LOOK_S)


def _is_grpc_running() -> bool:
    return any(_name(task).startswith(_THREADS) for task in Path("/proc/self/task").glob("*"))


def _name(task: Path) -> str:
    try:
        return (task / "comm").read_text(errors="replace")
    except OSError:  # it has ended
        return ""


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_child=_in_child)
