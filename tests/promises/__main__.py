"""``python -m tests.promises``: storms for as long as wanted, one after the other."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from .storm import Outcome, Storm, Weather, faults_of

_STORES = ("memory", "sqlite", "restored")


def main() -> int:
    """Let storms rage; return 1 if a promise was not kept."""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    options = _options()
    print(f"seed {options.seed}", flush=True)
    return asyncio.run(_rage(options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.promises", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (default: 5)")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("PROMISES_SEED") or random.randrange(10**6)))
    parser.add_argument(
        "--store",
        choices=_STORES,
        help="default: all in turn; restored: sqlite, whose file is replaced by older copies",
    )
    parser.add_argument("--doors", default="grpc,ws,tcp", help="where clients come in (default: grpc,ws,tcp)")
    parser.add_argument("--guarded", action="store_true", help="with TLS, and tokens that soon expire")
    parser.add_argument("--clients", type=int, default=8, help="at any time (default: 8)")
    parser.add_argument("--storm-s", type=float, default=15.0, help="how long one storm lasts (default: 15)")
    parser.add_argument("--every-s", type=float, default=0.5, help="time between faults (default: 0.5)")
    parser.add_argument("--fault", action="append", default=[], help="only this kind; may be repeated")
    options = parser.parse_args()
    stores = [options.store] if options.store else _STORES
    options.weathers = [weather for store in stores if faults_of(weather := _weather(options, store))]
    if not options.weathers:
        options.fault = []
        names = dict.fromkeys(fault.name for store in stores for fault in faults_of(_weather(options, store)))
        parser.error(f"--fault matches nothing; the faults are: {', '.join(names)}")
    return options


def _weather(options: argparse.Namespace, store: str) -> Weather:
    return Weather(
        durable=store != "memory",
        restores=store == "restored",
        guarded=options.guarded,
        seed=options.seed,
        seconds=options.storm_s,
        clients=options.clients,
        every_s=options.every_s,
        faults=tuple(options.fault),
        doors=tuple(options.doors.split(",")),
    )


async def _rage(options: argparse.Namespace) -> int:
    until = time.monotonic() + options.minutes * 60
    total = Outcome()
    turn = 0
    while time.monotonic() < until:
        for kind in options.weathers:
            weather = replace(kind, seed=options.seed + turn)
            with tempfile.TemporaryDirectory() as folder:
                outcome = await Storm(weather, Path(folder)).run()
            _add(total, outcome)
            _report(weather, outcome, max(0.0, until - time.monotonic()))
        turn += 1
    _sum_up(total)
    return 1 if total.violations else 0


def _add(total: Outcome, outcome: Outcome) -> None:
    total.count += outcome.count
    total.count["storms"] += 1
    total.recovery_s = max(total.recovery_s, outcome.recovery_s)
    total.outage_s = max(total.outage_s, outcome.outage_s)
    total.violations += outcome.violations


def _report(weather: Weather, outcome: Outcome, left_s: float) -> None:
    count = outcome.count
    print(
        f"{_store(weather)} --seed {weather.seed}: {count['messages']} messages,"
        f" {_deliveries(count)} deliveries, {_faults(count).total()} faults, {count['reconnects']} reconnects,"
        f" {count['gaps']} gaps, well again after {outcome.recovery_s:.1f} s,"
        f" {len(outcome.violations)} violations; {left_s:.0f} s left",
        flush=True,
    )
    if outcome.violations:
        print(f"  {outcome.settings}")
        print("\n".join(f"  {violation}" for violation in outcome.violations[:20]), flush=True)


def _store(weather: Weather) -> str:
    return "restored" if weather.restores else "sqlite" if weather.durable else "memory"


def _deliveries(count: Counter[str]) -> int:
    return sum(number for name, number in count.items() if name.startswith("deliveries"))


def _faults(count: Counter[str]) -> Counter[str]:
    return Counter({name: number for name, number in count.items() if name.startswith("fault: ")})


def _sum_up(total: Outcome) -> None:
    print()
    for name, number in sorted(total.count.items()):
        print(f"{number:>10}  {name}")
    print(f"{total.recovery_s:>9.1f}s  until all was well again, at the longest")
    print(f"{total.outage_s:>9.1f}s  until a client was back, at the longest")
    print(f"{len(total.violations):>10}  violations", flush=True)


if __name__ == "__main__":
    sys.exit(main())
