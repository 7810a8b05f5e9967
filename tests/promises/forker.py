"""A program that forks while it is in the room: ``python -m tests.promises.forker ADDRESS ROOM NAME``.

The child must be able to do something of its own, or be told clearly and at once that it cannot; the parent goes on.
It ends with 0, or says what was not so.
"""

from __future__ import annotations

import os
import sys
import warnings

import bcast_grpc
from bcast_grpc.errors import BcastError

WAIT_S = 10.0
"""How long it waits for anything, at the longest."""


def main() -> str:
    """Fork in the room; return what was wrong."""
    warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads: that is what is tried here
    address, room, name = sys.argv[1:]
    try:
        with bcast_grpc.connect_sync(address, name=name, room=room, events="none", max_downtime_s=WAIT_S) as chat:
            return _fork(chat, address, room)
    except BcastError:  # the server is gone
        return ""


def _fork(chat: bcast_grpc.SyncChat, address: str, room: str) -> str:
    child = os.fork()
    if not child:
        wrong = _use_inherited(chat) or _connect(address, room)
        print(wrong, end="", flush=True)  # noqa: T201
        os._exit(1 if wrong else 0)
    _, status = os.waitpid(child, 0)
    if status:
        return f" (the child ended with {os.waitstatus_to_exitcode(status)})"
    try:
        chat.members(timeout_s=WAIT_S)
    except TimeoutError:
        return "the parent's chat hangs"
    return ""


def _use_inherited(chat: bcast_grpc.SyncChat) -> str:
    try:
        chat.members(timeout_s=WAIT_S)
    except TimeoutError:
        return "the inherited chat waits for what cannot come"
    except (BcastError, RuntimeError) as error:
        return "" if "fork" in str(error) else f"of the inherited chat it is said only: {error!r}"
    return "the inherited chat works in two processes"


def _connect(address: str, room: str) -> str:
    try:
        with bcast_grpc.connect_sync(address, room=room, events="none", max_downtime_s=WAIT_S) as chat:
            chat.members(timeout_s=WAIT_S)
    except TimeoutError:
        return "the child's own chat hangs"
    except (BcastError, RuntimeError):  # no server, or no fork: both are said at once
        pass
    return ""


if __name__ == "__main__":
    sys.exit(main() or 0)
