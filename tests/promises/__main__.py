"""``python -m tests.promises``: storms for as long as wanted, one after the other."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

from .storm import Storm, faults_of
from .watchdog import Watchdog
from .weather import Outcome, Weather

_STORES = ("memory", "sqlite", "restored")
_SHARED = ("nats", "nats-restored")
_MEMORY_BYTES = 8 * 1024**3  # of addresses: what goes astray ends itself, if the watchdog is too late


def main() -> int:
    """Let storms rage; return 1 if a promise was not kept."""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    options = _options()
    print(f"seed {options.seed}", flush=True)
    return asyncio.run(_rage(options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.promises", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (default: 5)")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("PROMISES_SEED") or random.randrange(10**6)))
    parser.add_argument(
        "--store",
        choices=[*_STORES, *_SHARED],
        help="default: the first three in turn; restored: sqlite, whose file is replaced by older copies; nats: a log"
        " that several servers share; nats-restored: one that is replaced by older copies, purged and deleted",
    )
    parser.add_argument("--servers", type=int, default=3, help="with --store nats (default: 3)")
    parser.add_argument(
        "--replicas", type=int, choices=(1, 3), help="how many NATS servers hold the log (default: 1 and 3 in turn)"
    )
    parser.add_argument("--doors", default="grpc,ws,tcp", help="where clients come in (default: grpc,ws,tcp)")
    parser.add_argument("--guarded", action="store_true", help="with TLS, and tokens that soon expire")
    parser.add_argument("--clients", type=int, default=8, help="at any time (default: 8)")
    parser.add_argument("--storm-s", type=float, help="how long one storm lasts (default: 15; nats: 30)")
    parser.add_argument("--every-s", type=float, help="time between faults (default: 0.5; nats: 0.7)")
    parser.add_argument("--keep", type=Path, help="folder for records and logs of storms in which a promise was broken")
    parser.add_argument("--fault", action="append", default=[], help="only this kind; may be repeated")
    options = parser.parse_args()
    shared = options.store in _SHARED
    if shared and not shutil.which("go"):
        parser.error("--store nats builds nats-server from its Go module: install Go")
    options.storm_s = options.storm_s or (30.0 if shared else 15.0)
    all_ = [_weather(options, store) for store in ([options.store] if options.store else _STORES)]
    if shared:
        all_ = [replace(all_[0], replicas=number) for number in ([options.replicas] if options.replicas else (1, 3))]
    options.weathers = [weather for weather in all_ if faults_of(weather)]
    if not options.weathers:
        names = dict.fromkeys(fault.name for weather in all_ for fault in faults_of(replace(weather, faults=())))
        parser.error(f"--fault matches nothing; the faults are: {', '.join(names)}")
    return options


def _weather(options: argparse.Namespace, store: str) -> Weather:
    if store in _SHARED:
        restores = store == "nats-restored"
        weather = Weather.shared(1, options.seed, options.storm_s, options.servers, restores=restores)
    else:
        weather = Weather(store != "memory", options.seed, options.storm_s, restores=store == "restored")
    return replace(
        weather,
        guarded=options.guarded,
        clients=options.clients,
        every_s=options.every_s or weather.every_s,
        faults=tuple(options.fault),
        doors=tuple(options.doors.split(",")),
    )


async def _rage(options: argparse.Namespace) -> int:
    until = time.monotonic() + options.minutes * 60
    total = Outcome()
    watchdog = Watchdog()
    turn = 0
    while time.monotonic() < until:
        for kind in options.weathers:
            weather = replace(kind, seed=options.seed + turn)
            with tempfile.TemporaryDirectory() as folder:
                storm = Storm(weather, Path(folder))
                watchdog.describe = partial(_size, weather, storm)
                outcome = await storm.run()
            _add(total, outcome)
            if outcome.violations and options.keep:
                _keep(options.keep / f"{_store(weather)} {weather.seed}".replace(" ", "-"), outcome)
            _report(weather, outcome, max(0.0, until - time.monotonic()))
        turn += 1
    _sum_up(total)
    return 1 if total.violations else 0


def _size(weather: Weather, storm: Storm) -> str:
    clients = [client for room in storm.outcome.rooms for client in room.clients]
    steps = sum(len(visit.steps) for client in clients for visit in client.visits)
    lines = [len(node.log) for node in storm.nodes]
    return f"{_store(weather)} --seed {weather.seed}, {steps} steps of {len(clients)} clients, {lines} lines of servers"


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


def _keep(folder: Path, outcome: Outcome) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "violations").write_text("\n".join([outcome.settings, *outcome.violations]))
    for number, log in enumerate(outcome.logs):
        (folder / f"server{number}.log").write_text("\n".join(log))
    for room in outcome.rooms:
        for client in room.clients:
            lines = [f"{client.key} in {room.name}, {client.door}, named: {client.named}, gone: {client.gone}"]
            for visit in client.visits:
                lines += [f"--- after {visit.after}", *map(str, visit.steps), f"--- {visit.ending}"]
            (folder / client.key).write_text("\n".join(lines))


def _store(weather: Weather) -> str:
    if weather.replicas:
        return f"nats{'-restored' * weather.restores} R{weather.replicas}"
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
