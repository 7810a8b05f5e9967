"""What selects nothing is refused, with what there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("command", "option", "known"),
    [
        ("benchmarks", "--only", "throughput"),
        ("tests.promises", "--fault", "server killed"),
    ],
)
def test_what_matches_nothing_is_refused(command: str, option: str, known: str) -> None:
    """With exit code 2, before anything is built or started."""
    run = subprocess.run(
        [sys.executable, "-m", command, option, "nonsense"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 2, run
    assert f"{option} 'nonsense' matches nothing" in run.stderr or f"{option} matches nothing" in run.stderr
    assert known in run.stderr
