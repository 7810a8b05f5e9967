"""The machine's network while tests run side by side: browsers drop their requests when an interface comes or goes."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_SETTLED_S = 2.5
"""So long after a change the system still gives addresses, and browsers still look at what changed."""


@contextmanager
def network_stays() -> Iterator[None]:
    """Keep other processes' ``network_changes()`` waiting."""
    with ExitStack() as staying:
        with _locked("turn", fcntl.LOCK_EX):  # behind a change that waits
            staying.enter_context(_locked("network", fcntl.LOCK_SH))
        yield


@contextmanager
def network_changes() -> Iterator[None]:
    """Wait until it may change, and keep others waiting until that has settled."""
    with _locked("turn", fcntl.LOCK_EX), _locked("network", fcntl.LOCK_EX):
        yield
        time.sleep(_SETTLED_S)  # nobody tells when browsers have seen it


@contextmanager
def _locked(name: str, how: int) -> Iterator[None]:
    path = Path(tempfile.gettempdir(), f"bcast-tests-{os.getuid()}-{name}.lock")
    with path.open("w") as file:
        fcntl.flock(file, how)
        yield
