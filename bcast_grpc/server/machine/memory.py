"""How much memory this process takes, as the system counts it, and how much it may still take."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from bcast_grpc.server.machine.limits import ROOT, cgroups, limit_of_addresses, machine_bytes

_KEPT_FREE = 8
"""One part in so many of the memory stays free: for the system, and for what comes between two measurements."""

_TRIM_SHARE = 0.05
"""The most time to spend on giving memory back to the system, which takes some 100 ms where much is in use."""

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Bound(NamedTuple):
    """Something that bounds the memory of this process.

    Attributes:
        limit: how many bytes there are.
        taken: measures how many of them are taken.
        sharers: how many processes divide what is left.
    """

    limit: int
    taken: Callable[[], int]
    sharers: int = 1

    def left(self) -> int:
        """Return how many bytes this process may still take, negative if too many are taken."""
        left = self.limit - self.limit // _KEPT_FREE - self.taken()
        return left // self.sharers if left > 0 else left


class Allocator(Protocol):
    """The C library's allocator, as far as it is used here."""

    def malloc_trim(self, pad: int) -> int:
        """Give free pages back to the system."""


class ProcessMemory:
    """Measures the memory of this process, and gives what it does not use back to the system if that runs short.

    Args:
        bounds: what bounds it; by default the machine, the cgroups and ``ulimit -v``. None of them where the system
            does not tell: then nothing is ever short.
        allocator: the C library, if it can give memory back.
        sharers: how many processes such as this one there are.

    Attributes:
        filling: whether less than half is left, so that it should be measured often.
        short: whether more is taken than should be, so that idle connections should be closed.
        crowded: whether so much is taken that no connection should be accepted.
    """

    def __init__(self, bounds: list[Bound] | None = None, allocator: Allocator | None = None, sharers: int = 1) -> None:
        self._bounds = list(_bounds(sharers=sharers)) if bounds is None else bounds
        self._allocator = allocator or _libc()
        self._trim_at = 0.0
        self._left = 0
        self._tightest = Bound(0, lambda: 0)
        self.filling = self.short = self.crowded = False

    def __str__(self) -> str:
        limit, sharers = self._tightest.limit, self._tightest.sharers
        taken = limit - limit // _KEPT_FREE - (self._left * sharers if self._left > 0 else self._left)
        if sharers > 1:
            return f"the processes take {taken / 2**20:.1f} of {limit / 2**20:.1f} MiB"
        return f"the process takes {taken / 2**20:.1f} of {limit / 2**20:.1f} MiB"

    def left(self, wanted: int = 0) -> int | None:
        """Return how many bytes the process may still take, negative if it takes too many; None if nobody knows.

        Cost: some 100 µs. If fewer than ``wanted`` are left, it gives back to the system what it does not use, which
        takes longer but at most a twentieth of the time.
        """
        if not self._bounds:
            return None
        left = self._measure()
        if left < wanted and self._trim():
            left = self._measure()
        self.filling = left * self._tightest.sharers < self._tightest.limit // 2
        self.short = left < 0
        self.crowded = left < -self._tightest.limit // (2 * _KEPT_FREE)
        return left

    def _measure(self) -> int:
        with suppress(OSError):  # no file can be opened at the moment: what was measured last is better than nothing
            self._left, self._tightest = min(
                ((bound.left(), bound) for bound in self._bounds),
                key=lambda found: found[0],
            )
        return self._left

    def _trim(self) -> bool:
        now = time.monotonic()
        if not self._allocator or now < self._trim_at:
            return False
        self._allocator.malloc_trim(0)
        took_s = time.monotonic() - now
        self._trim_at = now + took_s / _TRIM_SHARE
        return True


def _libc() -> Allocator | None:
    """Return the C library if it has glibc's ``malloc_trim``: others give memory back by themselves."""
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows
        return None
    return libc if hasattr(libc, "malloc_trim") else None


def _bounds(root: Path = ROOT, sharers: int = 1) -> Iterator[Bound]:
    """Yield what bounds this process, as far as the system tells how much of it is taken.

    What the system counts for one process, each gets its part of; of what it counts for all, they divide what is left.
    """
    statm = root / "proc/self/statm"
    if not statm.exists():
        return

    def resident() -> int:
        return _pages(statm, 1)

    machine = machine_bytes(root)
    yield Bound(machine // sharers, resident)
    if limit := limit_of_addresses():
        # Addresses are not given back, but are used again. Those that are reserved and never used stay about as many.
        reserved = _pages(statm, 0) - resident()
        yield Bound(limit, lambda: resident() + reserved)
    for cgroup in cgroups(root):
        if cgroup.limit < machine:
            yield Bound(cgroup.limit, cgroup.taken, sharers)


def _pages(statm: Path, field: int) -> int:
    return int(statm.read_bytes().split()[field]) * _PAGE_BYTES
