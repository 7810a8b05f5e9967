"""Programs that are measured together: started, waited for, and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.fleets import Cluster, Fleet, Process, available, cluster
from benchmarks.peers import HERE, OURS, CannotRun

_LISTENER = (sys.executable, "-m", "http.server", "{port}", "--bind", HERE, "--directory", "{temp}")


def _peer(servers: Fleet, shared: Fleet | None = None) -> Cluster:
    return Cluster("some", "bcast", servers.command, servers=servers, shared=shared)


def test_all_of_a_cluster_listen_and_none_is_left() -> None:
    """What is shared comes first, and the servers are told where it is."""
    program = f"echo {{shared}} > {{temp}}/index.html; exec {' '.join(_LISTENER)}"
    with cluster(_peer(Fleet(("sh", "-c", program), 2), Fleet(_LISTENER))) as (servers, shared):
        assert len(servers) == 2
        for one in servers:
            with urllib.request.urlopen(f"http://{one.address}/") as answer:
                assert answer.read().decode().split() == [shared[0].address]
    for one in (*servers, *shared):
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(f"http://{one.address}/", timeout=5)


def test_what_ends_at_once_is_named() -> None:
    """A program that cannot run is no endless wait."""
    with pytest.raises(CannotRun, match="false is not ready"), cluster(_peer(Fleet(("false",)))):
        pass


def test_a_program_that_is_not_there_leaves_a_peer_out() -> None:
    """Of the servers, or of what they share."""
    assert available(OURS)
    assert not available(replace(OURS, command=("no-such-program",)))
    assert not available(_peer(Fleet((sys.executable,)), Fleet(("no-such-program",))))


def test_the_processes_that_a_server_has_started_count_with_it(tmp_path: Path) -> None:
    """Its workers, and apart from them its NATS server."""
    server, never = tmp_path / "nats-server", tmp_path / "never"
    os.mkfifo(never)
    server.write_text(f"#!/bin/sh\necho begun\nread end < {never}")
    server.chmod(0o755)
    with subprocess.Popen(
        ["sh", "-c", f"sleep 60 & {server} & cat; :"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(b"and cat\n")
        parent.stdin.flush()
        assert {parent.stdout.readline(), parent.stdout.readline()} == {b"begun\n", b"and cat\n"}
        own, nats = Process("", parent.pid).family
        for pid in (*own, *nats):
            os.kill(pid, signal.SIGKILL)
    assert own[0] == parent.pid
    assert len(own) == 3
    assert len(nats) == 1
