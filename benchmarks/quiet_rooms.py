"""What a room costs that nobody speaks in: `python -m benchmarks.quiet_rooms`.

A server over NATS opens many rooms, as for somebody in each, without the somebody: shown is how much memory each takes
of the server's process and of the NATS server's, and the CPU that opening it takes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import time
from pathlib import Path

from bcast_grpc import Server, Settings
from bcast_grpc.core.admission import Admission
from bcast_grpc.core.hello import Hello
from bcast_grpc.event_loop import new_event_loop
from benchmarks.peers import JETSTREAM, running

GOAL_BYTES = 10_000
AT_ONCE = 100
_FIRST = 500  # rooms that warm up the allocators


def resident(pid: int | str) -> int:
    """Return the bytes of memory that a process takes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def open_rooms(server: Server, first: int, count: int) -> list[Admission]:
    """Open rooms, some at once, and keep them open."""
    held: list[Admission] = []
    for begin in range(first, first + count, AT_ONCE):
        hellos = [Hello(room=f"quiet {number}") for number in range(begin, min(begin + AT_ONCE, first + count))]
        held += await asyncio.gather(*(server.hub.entrance.admit(hello, None) for hello in hellos))
    return held


async def measure(address: str, nats: int, rooms: int, settle_s: float) -> tuple[float, float, float]:
    """Return the bytes for each room here and at NATS, and the CPU seconds for each."""
    store = f"nats://{address}"
    async with Server(Settings(port=0, store=store)) as server:
        held = await open_rooms(server, 0, _FIRST)
        gc.collect()
        ours, theirs, cpu_s = resident("self"), resident(nats), time.process_time()
        held += await open_rooms(server, _FIRST, rooms)
        cpu_s = time.process_time() - cpu_s
        await asyncio.sleep(settle_s)  # they are told to the other servers meanwhile
        gc.collect()
        ours, theirs = resident("self") - ours, resident(nats) - theirs
        for admission in held:
            admission.release()
    return ours / rooms, theirs / rooms, cpu_s / rooms


def main() -> None:
    """Measure, and print a line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quiet_rooms", description=__doc__)
    parser.add_argument("--rooms", type=int, default=10_000, help="how many are opened")
    parser.add_argument("--settle-s", type=float, default=10, help="how long they are quiet before it is measured")
    options = parser.parse_args()
    with running(JETSTREAM) as (address, pid), asyncio.Runner(loop_factory=new_event_loop) as runner:
        ours, theirs, cpu_s = runner.run(measure(address, pid, options.rooms, options.settle_s))
    print(
        f"{options.rooms} quiet rooms: {ours / 1000:.1f} KB each at the server"
        f"{' missed' if ours > GOAL_BYTES else ''}, {theirs / 1000:.1f} KB at NATS, {cpu_s * 1e6:.0f} µs of CPU to open"
    )


if __name__ == "__main__":
    main()
