"""The previous version of the project, from the history of this checkout."""

from __future__ import annotations

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent
_PINNED = "Servers of tests that come again keep ports that nobody else gets"
"""What counts as the previous version until one is released: the commit with this subject."""


def unpack(folder: Path) -> Path:
    """Unpack the newest release before this commit; skip the test where the history is not there.

    That is so where there is no git, in a source distribution, and in a shallow clone that does not go back so far.

    Returns:
        The folder with the project.
    """
    tree = folder / "previous"
    with tarfile.open(fileobj=BytesIO(_git("archive", _previous(), "bcast_grpc"))) as archive:
        archive.extractall(tree, filter="data")
    return tree


def _previous() -> str:
    top = _answer("rev-parse", "--show-toplevel")
    if not top or Path(top) != _ROOT:
        pytest.skip("this is not a checkout of git, so there is no previous version")
    commit = _answer("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD^")
    if not commit:
        commit = _answer("log", "-1", "--format=%H", f"--grep=^{_PINNED}$", "HEAD^")
    if not commit:
        pytest.skip(f"no '{_PINNED}' is in this checkout: get the rest of a shallow clone by git fetch --unshallow")
    return commit


def _answer(*arguments: str) -> str:
    """Return what git says; nothing where it fails, or is not there."""
    try:
        return _git(*arguments).decode().strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*arguments: str) -> bytes:
    command = ["git", "-c", f"safe.directory={_ROOT}", "-C", str(_ROOT), *arguments]
    return subprocess.run(command, capture_output=True, check=True).stdout
