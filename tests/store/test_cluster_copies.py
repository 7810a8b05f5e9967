"""``python -m bcast_grpc.store copy`` of a log in NATS: into a folder and back, and what is not replaced."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from secrets import token_hex

import pytest

from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.nats.broker import NatsBroker
from bcast_grpc.broker.nats.cluster import Cluster
from bcast_grpc.broker.nats.connection.target import Target
from bcast_grpc.store.cli import run
from tests.nats_server import NatsServer, running
from tests.ports import free_port

from .logs import call, chain, item, write


@pytest.fixture
def copied(shared_nats: NatsServer, cluster: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A copy of a log with three messages."""
    write(shared_nats, cluster, chain("a", "b"))
    write(shared_nats, cluster, chain("c"), room="sala ñ")
    assert call("copy", shared_nats, cluster, str(tmp_path / "copy")) == 0
    assert "bytes, complete" in capsys.readouterr().out
    return tmp_path / "copy"


def test_a_copy_is_restored_in_another_nats_and_begins_new_epochs(
    copied: Path, cluster: str, nats_program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With all its messages. It has the form that the program ``nats`` reads and writes."""
    assert {file.name for file in copied.iterdir()} == {"backup.json", "stream.tar.s2"}
    with running(nats_program, copied.parent / "nats") as other:
        assert run(["copy", str(copied), other.url, "--cluster", cluster]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"BCAST_{cluster} on 127.0.0.1:{other.port}: 5 records restored"
        assert [line.partition(", ")[2] for line in lines[1:]] == ["with 2 messages", "with 1 message"]
        assert call("check", other, cluster) == 0
        assert call("info", other, cluster, "--json") == 0
        rooms = json.loads(capsys.readouterr().out.splitlines()[-1])["rooms"]
        assert [(room["head"], room["epoch"] == "e1") for room in rooms] == [(2, False), (1, False)]
        assert run(["copy", str(copied), other.url, "--cluster", cluster]) == 2
        assert "exists already; stop all servers, then --overwrite replaces it" in capsys.readouterr().err
        assert run(["copy", str(copied), other.url, "--cluster", cluster, "--overwrite"]) == 0


def test_a_large_log_is_copied_whole(
    shared_nats: NatsServer, cluster: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In parts, each of which is acknowledged; the restored log is as large."""
    begin, *rest = chain(*map(str, range(60)))
    noise = [one._replace(items=[item(token_hex(50_000))]) for one in rest]
    write(shared_nats, cluster, [begin, *noise])
    folder = str(tmp_path / "copy")
    assert call("copy", shared_nats, cluster, folder) == 0
    assert (tmp_path / "copy" / "stream.tar.s2").stat().st_size > 3_000_000
    assert run(["copy", folder, shared_nats.url, "--cluster", cluster, "--overwrite"]) == 0
    assert "61 records restored" in capsys.readouterr().out
    assert call("check", shared_nats, cluster) == 0


def test_copies_that_cannot_be(copied: Path, cluster: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says why, and nothing is left of the try."""
    nowhere = f"nats://127.0.0.1:{free_port()}"
    (copied.parent / "other").mkdir()

    def refusal(*arguments: str) -> str:
        assert run(["copy", *arguments, "--cluster", cluster]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert "a log is not copied from one NATS to another" in refusal(nowhere, nowhere)
    assert f"{nowhere.partition('//')[2]} cannot be used" in refusal(nowhere, str(copied.parent / "new"))
    assert "is for a log in NATS" in refusal(str(copied), str(copied.parent / "new"))
    assert {file.name for file in copied.parent.iterdir()} == {"copy", "other"}


@pytest.mark.parametrize(
    ("target", "more", "says"),
    [
        ("copy", (), "copy exists already; --overwrite replaces it"),
        ("other", ("--overwrite",), "other exists already, and is no copy of a log; name another folder"),
        ("no/copy", (), "no does not exist"),
    ],
)
def test_folders_that_are_not_written(
    copied: Path,
    cluster: str,
    shared_nats: NatsServer,
    capsys: pytest.CaptureFixture[str],
    target: str,
    more: tuple[str, ...],
    says: str,
) -> None:
    """What is there stays as it is."""
    (copied.parent / "other").mkdir()
    before = (copied / "backup.json").stat().st_ino
    assert call("copy", shared_nats, cluster, str(copied.parent / target), *more) == 2
    assert says in capsys.readouterr().err
    assert (copied / "backup.json").stat().st_ino == before


def test_a_copy_of_another_cluster_is_not_restored(
    copied: Path, shared_nats: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its subjects are of that one."""
    assert run(["copy", str(copied), shared_nats.url, "--cluster", token_hex(4)]) == 2
    assert "is a copy of the stream BCAST_" in capsys.readouterr().err
    assert run(["copy", str(copied.parent), shared_nats.url]) == 2
    assert "is no copy of a log: backup.json" in capsys.readouterr().err


def test_a_damaged_copy_replaces_nothing(
    copied: Path, cluster: str, shared_nats: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log that is there may be all that is left."""
    data = copied / "stream.tar.s2"
    data.write_bytes(data.read_bytes()[:-1])
    assert run(["copy", str(copied), shared_nats.url, "--cluster", cluster, "--overwrite"]) == 2
    assert "copy is damaged: stream.tar.s2" in capsys.readouterr().err
    assert call("info", shared_nats, cluster) == 0
    assert "2 rooms, 5 records" in capsys.readouterr().out


async def test_a_copy_replaces_no_log_that_servers_use(
    copied: Path, cluster: str, shared_nats: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """What they have in memory is newer."""
    broker = NatsBroker(Cluster(Target([shared_nats.url]), cluster), Retention())
    await broker.start(lambda _: None)
    arguments = ["copy", str(copied), shared_nats.url, "--cluster", cluster, "--overwrite"]
    try:
        assert await asyncio.to_thread(run, arguments) == 2
        assert "; stop all servers first" in capsys.readouterr().err
    finally:
        await broker.close()
    assert await asyncio.to_thread(run, arguments) == 0
