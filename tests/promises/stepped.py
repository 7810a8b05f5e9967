"""The server with a wall clock that steps: ``python -m tests.promises.stepped FILE [SETTINGS]``.

The file holds by how many nanoseconds the clock is wrong, and is looked at whenever the time is asked for. It is the
clock of Python's own functions that is replaced. In a process that had imported the server before (``tests.forked``),
only the time since which a member is there is still that of the machine.
"""

from __future__ import annotations

import struct
import sys
import time
from mmap import ACCESS_READ, mmap
from pathlib import Path

_OFFSET = struct.Struct("=q")


def step(file: Path, seconds: float) -> None:
    """Step the clock of the server that looks at ``file``, which is made if it is not there."""
    before = _OFFSET.unpack(file.read_bytes())[0] if file.exists() else 0
    with file.open("r+b" if file.exists() else "wb") as opened:  # the server has mapped it: it is never replaced
        opened.write(_OFFSET.pack(before + round(seconds * 1e9)))


def _replace_clock(file: Path) -> None:
    with file.open("rb") as opened:
        wrong = mmap(opened.fileno(), _OFFSET.size, access=ACCESS_READ)
    real_time_ns = time.time_ns

    def time_ns() -> int:
        return real_time_ns() + int(_OFFSET.unpack_from(wrong)[0])

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9


if __name__ == "__main__":
    _replace_clock(Path(sys.argv.pop(1)))
    from bcast_grpc.server.__main__ import main

    sys.exit(main())
