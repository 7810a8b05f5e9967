"""Programs in Go that tests call, built from their modules."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

BUILD_S = 600

GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4"
H2SPEC = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"
HEALTH_PROBE = "github.com/grpc-ecosystem/grpc-health-probe@v0.4.62"


def build(module: str, folder: Path) -> Path:
    """Build a program into a folder; skip the test where Go is missing, and fail it in CI.

    Returns:
        Where the program is.
    """
    if not shutil.which("go"):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{module} needs go")
    command = ["go", "install", module]
    environ = os.environ | {"GOBIN": str(folder)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=BUILD_S, check=False)
    assert done.returncode == 0, done.stderr
    return folder / module.partition("@")[0].rpartition("/")[2]
