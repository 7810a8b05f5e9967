"""Programs in Go that tests call, built from their modules."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

BUILD_S = 600

GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4"
H2SPEC = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"
HEALTH_PROBE = "github.com/grpc-ecosystem/grpc-health-probe@v0.4.62"

_NATS = "github.com/nats-io/nats-server/v2"
_BENCHMARKS = Path(__file__).parent.parent / "benchmarks" / "go"


def build(module: str, folder: Path) -> Path:
    """Build a program into a folder; skip the test where Go is missing, and fail it in CI.

    Returns:
        Where the program is.
    """
    _install(module, folder)
    return folder / module.partition("@")[0].rpartition("/")[2]


def build_nats(folder: Path) -> Path:
    """Build the NATS server of the version that the benchmarks use; processes do it in turn: one compiles it."""
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install(_NATS, folder, "-C", str(_BENCHMARKS))
    return folder / "nats-server"


def _install(module: str, folder: Path, *before: str) -> None:
    if not shutil.which("go"):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{module} needs go")
    command: Sequence[str] = ["go", *before, "install", module]
    environ = os.environ | {"GOBIN": str(folder), "GOFLAGS": "-p=2"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=BUILD_S, check=False)
    assert done.returncode == 0, done.stderr
