"""When a file was created, which Python's ``os.stat`` does not report on Linux."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from pathlib import Path

_AT_FDCWD = -100
_STATX_BTIME = 0x800
_SIZE = 256
_BORN_AT = 80  # in struct statx: seconds in 64 bits, nanoseconds in 32


def born(path: Path) -> str:
    """Return when a file was created, as a text to compare; if that is not known, when it was last changed.

    Raises:
        OSError: the file cannot be found.
    """
    found = path.stat()
    made = getattr(found, "st_birthtime_ns", None) or getattr(found, "st_birthtime", None) or _statx(path)
    return f"born:{made}" if made else f"changed:{found.st_ctime_ns}"


def _statx(path: Path) -> str:
    """Ask Linux; return an empty text if Linux, its C library or the file system does not know."""
    if sys.platform != "linux":
        return ""
    try:
        statx = ctypes.CDLL(None).statx
    except (OSError, AttributeError):
        return ""
    result = ctypes.create_string_buffer(_SIZE)
    if statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, result) != 0:
        return ""
    (mask,) = struct.unpack_from("=I", result.raw, 0)
    seconds, nanoseconds = struct.unpack_from("=qI", result.raw, _BORN_AT)
    return f"{seconds}.{nanoseconds:09d}" if mask & _STATX_BTIME else ""
