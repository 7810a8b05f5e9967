"""Run schedules: ``python -m tests.simulator --seed N --schedules N``."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from tests.simulator.plan import random_plan
from tests.simulator.world import World


def main() -> int:
    """Run the schedules of consecutive seeds; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--schedules", type=int, default=1000)
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first violation")
    options = parser.parse_args()
    began, records, violations = time.process_time(), 0, 0
    for seed in range(options.seed, options.seed + options.schedules):
        plan = random_plan(seed)
        world = World(plan)
        try:
            world.run()
        except Exception:  # noqa: BLE001 whatever it is, it is shown with its seed
            violations += 1
            print(f"seed {seed}: {plan}\n{traceback.format_exc(limit=-3)}", flush=True)
            if not options.keep_going:
                return 1
        records += world.records
    took_s = time.process_time() - began
    print(
        f"{options.schedules} schedules from seed {options.seed}: {violations} violations, {records} records,"
        f" {options.schedules / took_s * 60:.0f} schedules a minute of CPU time"
    )
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
