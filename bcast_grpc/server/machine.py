"""How much memory this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_UNKNOWN_BYTES = 2 * 2**30


def default_max_memory() -> int:
    """Return half of the memory: the rest is for connections, the interpreter, and other programs."""
    return memory_bytes() // 2


def memory_bytes(root: Path = Path("/")) -> int:
    """Return the memory of the machine or, if that is less, what the cgroups of this process allow.

    Args:
        root: where ``/proc`` and ``/sys`` are.
    """
    return min([_machine_bytes(root), *_cgroup_limits(root)])


def _machine_bytes(root: Path) -> int:
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return _UNKNOWN_BYTES


def _cgroup_limits(root: Path) -> Iterator[int]:
    """Yield the limits of the process's cgroups and of those above them, of both versions."""
    mount = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, name = mount, "memory.max"
        elif "memory" in controllers.split(","):
            top, name = mount / "memory", "memory.limit_in_bytes"
        else:
            continue
        # In a container the path may be that of the host, while only its own cgroup is mounted: then the top is right.
        group = top / path.lstrip("/")
        for place in (group, *group.parents):
            limit = _read(place / name).strip()
            if limit.isdigit():
                yield int(limit)
            if place == top:
                break


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
