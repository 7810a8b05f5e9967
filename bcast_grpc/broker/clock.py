"""What time it is: once to measure by, once to show."""

from __future__ import annotations

import time


class Clock:
    """Two clocks. The one that people see may be set forward or back at any moment, so nothing is measured by it."""

    def now_ns(self) -> int:
        """Return nanoseconds on a clock that never steps: every age and every interval is measured by it."""
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        """Return nanoseconds since 1970, as the system's clock has it now: to be shown, never to be measured by."""
        return time.time_ns()
