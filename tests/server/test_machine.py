"""How much memory the process may have is read where the system says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bcast_grpc.server.machine.limits import default_max_memory, memory_bytes

GIB = 2**30


def machine(root: Path, files: dict[str, str]) -> Path:
    """Make a system of 8 GiB with these files."""
    for name, text in {"proc/meminfo": "MemFree: 1 kB\nMemTotal:  8388608 kB\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "gib"),
    [
        ({}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{GIB}\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 8),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": f"{2 * GIB}"}, 2),
        ({"proc/self/cgroup": "0::/host/only\n", "sys/fs/cgroup/memory.max": f"{3 * GIB}"}, 3),
        ({"proc/self/cgroup": "5:cpu,memory:/x\n", "sys/fs/cgroup/memory/x/memory.limit_in_bytes": f"{GIB}"}, 1),
        ({"proc/self/cgroup": "5:memory:/x\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{1 << 63}"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{64 * GIB}"}, 8),
    ],
)
def test_the_least_limit_counts(tmp_path: Path, files: dict[str, str], gib: int) -> None:
    """The machine's memory, or what one of the cgroups of either version allows, if that is less."""
    assert memory_bytes(machine(tmp_path, files)) == gib * GIB


def test_without_any_word_of_the_system_there_is_an_answer(tmp_path: Path) -> None:
    """Another system has neither file."""
    assert memory_bytes(tmp_path) > 0
    assert 2 * default_max_memory() <= memory_bytes() + 1
