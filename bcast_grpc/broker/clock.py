"""A steady clock for ages and intervals, and the wall clock for times that people see."""

from __future__ import annotations

import time
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Clock:
    """Two clocks. The wall clock may be set at any moment, so nothing is measured by it."""

    def now_ns(self) -> int:
        """Return nanoseconds on the steady clock, which measures all ages and intervals."""
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        """Return nanoseconds since 1970 on the wall clock, which is only shown."""
        return time.time_ns()

    def boot(self) -> str:
        """Return an id of the last start of the machine; empty if the system has none."""
        try:
            return _BOOT_ID.read_text().strip() if hasattr(time, "CLOCK_BOOTTIME") else ""
        except OSError:
            return ""

    def boot_ns(self) -> int:
        """Return nanoseconds since the machine was started: a steady clock that all processes share."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else 0
