"""All figures in a file, with the day, the versions and the machine's shape."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import which

from benchmarks.load import limited_by_load
from benchmarks.peers import BUILD
from benchmarks.rounds import Row

FULL = BUILD / "results.json"


class Record:
    """The rows found so far, saved as they come.

    Args:
        path: the file.
        rows: those of an earlier run that are kept.
    """

    def __init__(self, path: Path, rows: Sequence[Row] = ()) -> None:
        self.path = path
        self.rows = list(rows)

    @classmethod
    def load(cls, path: Path) -> Record:
        """Read a saved record; nothing, if there is none. What had failed is left out, so that it is tried again."""
        if not path.exists():
            return cls(path)
        names = [field.name for field in dataclasses.fields(Row)]
        rows = [Row(**{name: row[name] for name in names}) for row in json.loads(path.read_text())["rows"]]
        return cls(path, [row for row in rows if not row.faults])

    def has(self, group: str, figure: str, peer: str) -> bool:
        """Say whether that was measured."""
        return any(row.place == (group, figure, peer) for row in self.rows)

    def add(self, rows: Sequence[Row]) -> None:
        """Take rows in the place of older ones, and save."""
        new = {row.place for row in rows}
        self.rows = [row for row in self.rows if row.place not in new] + list(rows)
        text = [
            json.dumps(dataclasses.asdict(row) | {"limited_by_load": limited_by_load(row.result)}) for row in self.rows
        ]
        head = json.dumps({"date": datetime.now(UTC).date().isoformat(), "versions": versions(), "machine": machine()})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(f'{head[:-1]}, "rows": [\n' + ",\n".join(text) + "\n]}\n")


def versions() -> dict[str, str]:
    """Return the versions of what is measured and of what it stands on."""
    found = {"python": platform.python_version()}
    for name in ("bcast-grpc", "grpcio", "uvloop", "protobuf", "websockets"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    modules = {
        "go": ("load", r"go(\d[\d.]+)"),
        "nats-server": ("nats-server", r"mod\s.*nats-server/v2\s+v(\S+)"),
        "centrifugo": ("centrifugo", r"mod\s.*centrifugo/v6\s+v(\S+)"),
        "grpc-go": ("grpcgo", r"dep\s+google.golang.org/grpc\s+v(\S+)"),
    }
    for name, (binary, pattern) in modules.items():
        built = subprocess.run(
            ["go", "version", "-m", str(BUILD / binary)], capture_output=True, text=True, check=False
        )
        match = re.search(pattern, built.stdout.partition(":")[2])
        found[name] = match[1] if match else ""
    if which("redis-server"):
        said = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=False).stdout
        found["redis"] = said.partition("v=")[2].partition(" ")[0]
    return found


def machine() -> dict[str, object]:
    """Return the shape of this machine: nothing that names it."""
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()}",
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9),
    }
