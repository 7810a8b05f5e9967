"""Ends a soak that grows without bound, and says first what has grown and where the program is."""

from __future__ import annotations

import faulthandler
import gc
import os
import resource
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

_MOST_BYTES = 2 * 1024**3
_EVERY_S = 1.0
_STATM = Path("/proc/self/statm")
_TYPES = 12


class Watchdog:
    """Looks at this process's memory each second, from a thread, so that also an endless loop is seen.

    Attributes:
        describe: says what has been recorded so far.
    """

    def __init__(self) -> None:
        self.describe: Callable[[], str] = str
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        pause = threading.Event()
        while (held := _held_bytes()) < _MOST_BYTES:
            pause.wait(_EVERY_S)
        kinds = Counter(type(one).__qualname__ for one in gc.get_objects()).most_common(_TYPES)
        said = [f"the soak takes {held / 2**20:.0f} MB, and ends: {self.describe()}"]
        said += [f"{number:>10}  {name}" for name, number in kinds]
        sys.stderr.write("\n".join(said) + "\n")
        sys.stderr.flush()
        faulthandler.dump_traceback(all_threads=True)
        os.kill(os.getpid(), signal.SIGINT)  # as by Ctrl-C, so that servers end, too


def _held_bytes() -> int:
    if not _STATM.exists():  # only Linux has it
        return 0
    return int(_STATM.read_text().split()[1]) * resource.getpagesize()
