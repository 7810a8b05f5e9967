"""How many events a second ``async for event in chat`` takes. Prints one line of JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import time

import bcast_grpc

WARM_UP, GLANCE = 50_000, 1000


def main() -> None:
    """Listen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--seconds", type=float, default=2)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(listen(options.address, options.seconds))))


async def listen(address: str, seconds: float) -> dict[str, float | str]:
    """Take events, for so long; check that each comes once and in order."""
    events, faults, first, last = 0, 0, 0, 0
    begin = cpu = took = 0.0
    chat = bcast_grpc.connect(address, name="listener")
    async with chat:
        async for event in chat:
            faults += event.seq != last + 1
            last = event.seq
            events += 1
            if events == WARM_UP:
                begin, cpu, first = time.monotonic(), time.process_time(), events
            elif events > WARM_UP and events % GLANCE == 0 and (took := time.monotonic() - begin) > seconds:
                cpu = time.process_time() - cpu
                break
    return {
        "per_second": (events - first) / took,
        "seconds": took,
        "load_cpu_share": cpu / took,
        "faults": faults,
        "first_fault": "an event is not the next one" if faults else "",
    }


if __name__ == "__main__":
    main()
