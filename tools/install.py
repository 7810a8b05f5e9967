"""Install the project, editable, and its development tools into the Python in use, unless they are there.

It runs before anything is installed, so it needs nothing but Python.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parent.parent
VENV_FIRST = "python3 -m venv .venv && . .venv/bin/activate"


def main() -> int:
    """Install what is missing; return the exit code."""
    missing = [requirement for requirement in wanted() if not satisfied(requirement)]
    if not missing:
        return 0
    if reason := refusal():
        print(f"{reason}; make a virtual environment first: {VENV_FIRST}", file=sys.stderr)
        return 1
    print(f"installing bcast_grpc and its development tools into {sys.prefix}", flush=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    return subprocess.run([*pip, "--editable", f"{ROOT}[dev]"], check=False).returncode


def wanted() -> list[str]:
    """Return the requirements of the project and of its development."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [project["name"], *project["dependencies"], *project["optional-dependencies"]["dev"]]


def satisfied(requirement: str) -> bool:
    """Say whether a requirement is there. Of versions only exact ones are looked at; pip knows the rest."""
    name, exact = re.match(r"([\w.-]+)(?:==([\w.]+))?", requirement).groups()  # type: ignore[union-attr]
    try:
        return exact in (None, version(name))
    except PackageNotFoundError:
        return "; sys_platform" in requirement and sys.platform == "win32"


def refusal() -> str:
    """Say why nothing can be installed here; nothing if it can."""
    if importlib.util.find_spec("pip") is None:
        return f"{sys.executable} has no pip"
    in_venv = sys.prefix != sys.base_prefix
    if not in_venv and Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists():
        return f"{sys.executable} is managed by the system and refuses installs"
    return ""


if __name__ == "__main__":
    sys.exit(main())
