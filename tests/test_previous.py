"""Which previous version tests run, and when they are skipped."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import previous


def git(folder: Path, *arguments: str) -> str:
    """Run git."""
    who = ["-c", "user.name=ana", "-c", "user.email=ana@example.org"]
    command = ["git", *who, "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a history of three commits, the first of which is pinned."""
    folder = tmp_path / "project"
    (folder / "bcast_grpc").mkdir(parents=True)
    git(folder, "init", "-q")
    for version in "123":
        (folder / "bcast_grpc" / "version").write_text(version)
        git(folder, "add", ".")
        git(folder, "commit", "-q", "-m", version)
    monkeypatch.setattr(previous, "_ROOT", folder)
    monkeypatch.setattr(previous, "_PINNED", "1")
    return folder


def version_in(folder: Path) -> str:
    """The version that is unpacked."""
    return (previous.unpack(folder) / "bcast_grpc" / "version").read_text()


def test_the_newest_release_before_this_commit(checkout: Path, tmp_path: Path) -> None:
    """Until there is one, the commit that is pinned; this commit's own tag does not count."""
    git(checkout, "tag", "v3")
    assert version_in(tmp_path / "a") == "1"
    git(checkout, "tag", "v2", "HEAD^")
    assert version_in(tmp_path / "b") == "2"


def test_without_git_it_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a source distribution."""
    monkeypatch.setattr(previous, "_ROOT", tmp_path)
    with pytest.raises(pytest.skip.Exception, match="not a checkout of git"):
        previous.unpack(tmp_path)


def test_in_a_shallow_clone_it_is_skipped(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit is not there, and it is said how to get it."""
    git(checkout, "clone", "-q", "--depth=1", f"file://{checkout}", str(tmp_path / "clone"))
    monkeypatch.setattr(previous, "_ROOT", tmp_path / "clone")
    with pytest.raises(pytest.skip.Exception, match="git fetch --unshallow"):
        previous.unpack(tmp_path)
