"""Run tests with the oldest versions that ``pyproject.toml`` allows of what the project runs on.

The project's own requirements are installed at their lower bounds into an environment of their own; the tools that
only the tests need are as new as they get along with those. Arguments are pytest's.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEST_TOOLS = (
    "buf-bin",
    "hypothesis",
    "pytest",
    "pytest-asyncio",
    "pytest-timeout",
    "pytest-xdist",
    "trustme",
    "websockets",
)
"""Those of the development tools that tests/integration imports or calls."""


def main() -> int:
    """Install and test; return pytest's exit code."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lowest = [at_lower_bound(requirement) for requirement in [*project["dependencies"], *extras["nats"]]]
    tools = [one for one in extras["dev"] if re.split("[<>=]", one)[0] in TEST_TOOLS]
    with tempfile.TemporaryDirectory() as scratch:
        venv.create(scratch, with_pip=True)
        python = f"{scratch}/bin/python"
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--editable", str(ROOT), *lowest, *tools], check=True)
        print("the oldest versions:", *lowest, flush=True)
        return subprocess.run([python, "-m", "pytest", *sys.argv[1:]], cwd=ROOT, check=False).returncode


def at_lower_bound(requirement: str) -> str:
    """Pin a requirement such as ``grpcio>=1.83.2,<2`` to its lower bound; a marker stays."""
    name_and_range, semicolon, marker = requirement.partition(";")
    name, _, versions = name_and_range.partition(">=")
    if not versions:
        raise SystemExit(f"{requirement}: has no lower bound; write it as NAME>=VERSION")
    return f"{name}=={versions.split(',')[0]}{semicolon}{marker}"


if __name__ == "__main__":
    sys.exit(main())
