"""What the process takes is measured, and held against what it may have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bcast_grpc.server.machine import memory
from bcast_grpc.server.machine.limits import cgroups
from bcast_grpc.server.machine.memory import Bound, ProcessMemory, _bounds

MIB = 2**20


class Heap:
    """An allocator that keeps a part of what it was given back."""

    def __init__(self, taken: int, unused: int) -> None:
        self.taken = taken
        self.unused = unused
        self.trims = 0

    def malloc_trim(self, _: int) -> int:
        """Give back what is not used."""
        self.trims += 1
        self.taken -= self.unused
        self.unused = 0
        return 1


def test_an_eighth_stays_free() -> None:
    """Of each bound; the tightest one counts."""
    heap = Heap(0, 0)
    measured = ProcessMemory([Bound(800, lambda: heap.taken), Bound(400, lambda: heap.taken // 4)], heap)
    states = []
    for taken in (100, 301, 700, 701, 751):
        heap.taken = taken
        states.append((measured.left(), measured.filling, measured.short, measured.crowded))
    assert states == [
        (325, False, False, False),
        (275, False, False, False),
        (0, True, False, False),
        (-1, True, True, False),
        (-51, True, True, True),
    ]
    assert str(measured) == "the process takes 0.0 of 0.0 MiB"
    assert heap.trims > 0, "when it was short"


def test_what_is_not_used_is_given_back_where_memory_is_short() -> None:
    """And only then, and not again at once, because that takes time."""
    heap = Heap(600, 200)
    measured = ProcessMemory([Bound(800, lambda: heap.taken)], heap)
    assert measured.left(wanted=100) == 100
    assert heap.trims == 0
    assert measured.left(wanted=101) == 300
    heap.taken, heap.unused = 600, 200
    measured._trim_at += 60
    assert measured.left(wanted=101) == 100
    assert heap.trims == 1


def test_what_cannot_be_measured_is_as_it_was() -> None:
    """Out of file descriptors the files that say it cannot be opened."""
    answers = iter([100, None, 300])

    def taken() -> int:
        if (answer := next(answers)) is None:
            raise OSError(24, "Too many open files")
        return answer

    measured = ProcessMemory([Bound(800, taken)], Heap(0, 0))
    assert [measured.left() for _ in range(3)] == [600, 600, 400]


def test_where_nobody_knows_nothing_is_short() -> None:
    """As on systems without /proc."""
    measured = ProcessMemory([])
    assert measured.left(1 << 60) is None
    assert [measured.filling, measured.short, measured.crowded] == [False] * 3


def test_the_process_is_measured() -> None:
    """What it takes more is seen, and what it does not use any more is given back."""
    taken = next(iter(_bounds())).taken

    def measure() -> int:
        left = ProcessMemory([Bound(1 << 40, taken)]).left(wanted=1 << 40)  # anew, so that it gives back at once
        assert left is not None
        return left

    before = measure()
    held = [os.urandom(8) * 1000 for _ in range(8000)]  # in pieces that come from the heap
    after = measure()
    assert before - after > 50 * MIB
    held[:-1] = []  # the last one keeps the heap from shrinking by itself
    assert measure() - after > 50 * MIB


@pytest.mark.parametrize(
    ("version", "group", "prefix"), [(2, "", ""), (1, "/memory", "total_")], ids=["version 2", "version 1"]
)
def test_cached_files_of_a_cgroup_are_not_taken(tmp_path: Path, version: int, group: str, prefix: str) -> None:
    """The system drops them where memory is short."""
    limit, usage = ("max", "current") if version == 2 else ("limit_in_bytes", "usage_in_bytes")
    stat = f"{prefix}inactive_file 20\n{prefix}active_file 7\nanon 60\nactive_anon 60\nshmem 3\n"
    files = {
        "proc/meminfo": "MemTotal:  8388608 kB\n",
        "proc/self/statm": "500 200 100 1 0 90 0",
        "proc/self/cgroup": "0::/\n" if version == 2 else "5:memory:/\n",
        f"sys/fs/cgroup{group}/memory.{limit}": f"{512 * MIB}\n",
        f"sys/fs/cgroup{group}/memory.{usage}": "100\n",
        f"sys/fs/cgroup{group}/memory.stat": stat,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert [(one.limit, one.taken()) for one in cgroups(tmp_path)] == [(512 * MIB, 73)]
    machine, *_, cgroup = _bounds(tmp_path)
    assert (machine.limit, machine.taken()) == (2**33, 200 * memory._PAGE_BYTES)
    assert (cgroup.limit, cgroup.taken()) == (512 * MIB, 73)
