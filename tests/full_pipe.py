"""A pipe that nobody reads, so that who writes to it waits."""

from __future__ import annotations

import os


def full_pipe() -> tuple[int, int]:
    """Return both ends of a pipe with no room in it."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, b"." * 4096)
    except BlockingIOError:
        os.set_blocking(write, True)
    return read, write
