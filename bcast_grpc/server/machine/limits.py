"""How much memory this process may use."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")

_UNKNOWN_BYTES = 2 * 2**30


def default_max_memory() -> int:
    """Return half of what this process may have: the rest is for connections, the interpreter, and other programs."""
    return min(memory_bytes(), limit_of_addresses() or memory_bytes()) // 2


def memory_bytes(root: Path = ROOT) -> int:
    """Return the memory of the machine or, if that is less, what the cgroups of this process allow.

    Args:
        root: where ``/proc`` and ``/sys`` are.
    """
    return min([machine_bytes(root), *(cgroup.limit for cgroup in cgroups(root))])


def machine_bytes(root: Path = ROOT) -> int:
    """Return the memory of the machine."""
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return _UNKNOWN_BYTES


def limit_of_addresses() -> int | None:
    """Return how many bytes of addresses this process may have (``ulimit -v``); None if there is no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A group of processes whose memory is bounded.

    Attributes:
        limit: how many bytes it may have.
    """

    limit: int
    _usage: Path
    _stat: Path
    _reclaimable: frozenset[str]

    def taken(self) -> int:
        """Return how many bytes it has, without the files that the system only caches.

        Raises:
            OSError: the system does not tell.
        """
        cached = 0
        for line in self._stat.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key in self._reclaimable:
                cached += int(value)
        return int(self._usage.read_text()) - cached


def cgroups(root: Path = ROOT) -> Iterator[Cgroup]:
    """Yield the bounded cgroups of this process, and those above them, of both versions."""
    v2 = root / "sys/fs/cgroup"
    v1 = v2 / "memory"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, limit_name, usage, prefix = v2, "memory.max", "memory.current", ""
        elif "memory" in controllers.split(","):
            top, limit_name, usage, prefix = v1, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"
        else:
            continue
        reclaimable = frozenset(f"{prefix}{kind}" for kind in ("inactive_file", "active_file", "slab_reclaimable"))
        # In a container the path may be that of the host, while only its own cgroup is mounted: then the top is right.
        group = top / path.lstrip("/")
        for place in (group, *group.parents):
            limit = _read(place / limit_name).strip()
            if limit.isdigit():
                yield Cgroup(int(limit), place / usage, place / "memory.stat", reclaimable)
            if place == top:
                break


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
