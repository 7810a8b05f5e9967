"""A server that says on SIGUSR1 what there is in it."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
from typing import Any

from bcast_grpc.core.session import Session
from bcast_grpc.http2.states import Stream
from bcast_grpc.server.__main__ import main
from bcast_grpc.transport.grpc.call import Call
from bcast_grpc.transport.grpc.connection import Connection

KINDS = {"connections": Connection, "calls": Call, "streams": Stream, "sessions": Session, "tasks": asyncio.Task}


def report(*_: Any) -> None:
    """Write how many there are of each kind, on a line of its own."""
    gc.collect()
    things = gc.get_objects()
    counts = {name: sum(isinstance(thing, kind) for thing in things) for name, kind in KINDS.items()}
    os.write(1, json.dumps(counts).encode() + b"\n")  # the next signal may come before this returns: print would raise


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, report)
    sys.exit(main())
