"""Ways to measure one server: the load generator in Go, and the client in Python."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers import BUILD, CPP_LOAD, LOAD_CORE, ROOT, CannotRun, Peer, pinned, running

Flags = Mapping[str, object]
Result = dict[str, Any]
LOAD_IS_BUSY, SERVER_IS_BUSY = 0.95, 0.9
PATIENCE_S = 90


def drive(peer: Peer, flags: Flags, seconds: float, program: Path = BUILD / "load") -> Result:
    """Start a server, drive it, and return what the load generator found.

    Raises:
        CannotRun: the server does not start, or the load gives up.
    """
    words = [f"-{name}={json.dumps(value)}" for name, value in flags.items()]
    with running(peer) as (address, pid):
        words += ["-tls"] if peer.tls else []
        load = [str(program), f"-kind={peer.kind}", f"-addr={address}", f"-pid={pid}", *words]
        return answer([*load, f"-duration={seconds}s"], seconds, {"GOMAXPROCS": "1", "PATH": os.defpath})


drive_from_cpp = partial(drive, program=CPP_LOAD)
"""The same by ordinary clients in C++, where those were built."""


def listen(peer: Peer, flags: Flags, seconds: float) -> Result:
    """Start a server that sends by itself, and let the Python client take what it can."""
    with running(peer) as (address, _):
        client = [sys.executable, "-m", "benchmarks.python_client", address, "--seconds", str(seconds)]
        return answer(client, seconds, dict(os.environ))


def answer(command: Sequence[str], seconds: float, environment: dict[str, str], core: str = LOAD_CORE) -> Result:
    """Run a load, on the load's core or others; return what it found.

    Raises:
        CannotRun: it gives up.
    """
    try:
        run = subprocess.run(
            pinned(core, command),
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds + PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CannotRun("the load does not end") from error
    if run.returncode:
        raise CannotRun(run.stderr.strip().rpartition("\n")[2] or "the load failed")
    result: Result = json.loads(run.stdout)
    return result


def limited_by_load(result: Result) -> bool:
    """Say whether the load was busy while the server was not: then the figure is the load's."""
    load, server = result.get("load_cpu_share", 0), result.get("server_cpu_share", 1)
    return bool(load >= LOAD_IS_BUSY and server < SERVER_IS_BUSY)


def allow_files(wanted: int) -> None:
    """Let this process and what it starts open as many files as it may.

    Raises:
        CannotRun: that is less than ``wanted``.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard not in (resource.RLIM_INFINITY, -1) and hard < wanted:
        raise CannotRun(f"only {hard} open files are allowed here (ulimit -n), and {wanted} are needed")
