"""What time it is: once to measure by, once to show."""

from __future__ import annotations

import time
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Clock:
    """Two clocks. The one that people see may be set forward or back at any moment, so nothing is measured by it."""

    def now_ns(self) -> int:
        """Return nanoseconds on a clock that never steps: every age and every interval is measured by it."""
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        """Return nanoseconds since 1970, as the system's clock has it now: to be shown, never to be measured by."""
        return time.time_ns()

    def boot(self) -> str:
        """Return a name for the last start of the machine; empty where the system gives none."""
        try:
            return _BOOT_ID.read_text().strip() if hasattr(time, "CLOCK_BOOTTIME") else ""
        except OSError:
            return ""

    def boot_ns(self) -> int:
        """Return nanoseconds since the machine was started: a clock that never steps, the same for all processes."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else 0
