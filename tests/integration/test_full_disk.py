"""A disk that is really full, under each store: messages are refused, none is lost or doubled, and then all goes on.

Where nothing can be mounted, a full disk is still tested by limits on files: ``test_history.py`` for SQLite, and
``broker/nats/test_full.py`` for NATS.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from secrets import token_hex

import aiohttp
import pytest

from bcast_grpc.v1 import chat_pb2 as pb
from tests.nats_server import NatsServer

from .conftest import Serve, Spawn
from .peers import Door, Peer, eventually, within

pytestmark = pytest.mark.one_engine

_SIZE = 24 * 1024 * 1024
_LEFT = 300_000
_COUNT = 100
_DATA = bytes(10_000)


class Disk:
    """A small disk of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leave little room on it."""
        found = os.statvfs(self.folder)
        with self._filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, found.f_bavail * found.f_frsize - _LEFT)

    def free(self) -> None:
        """Make room again."""
        self._filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk in memory; the test is skipped where it cannot be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(folder)]
        subprocess.run(command, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        why = error.stderr if isinstance(error, subprocess.CalledProcessError) else error
        pytest.skip(f"nothing can be mounted here: {why}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def say_all(peer: Peer, ids: Sequence[str]) -> dict[str, pb.ConnectResponse]:
    """Say something large with each id, and return the answers."""
    for id_ in ids:
        await peer.say(id_, data=_DATA, id=id_)
    return {id_: await peer.answer(id_) for id_ in ids}


def refused(answers: dict[str, pb.ConnectResponse]) -> list[str]:
    """The ids that were refused, all in the same way."""
    ids = [id_ for id_, answer in answers.items() if answer.kind == pb.EVENT_KIND_ERROR]
    for id_ in ids:
        error = answers[id_].error
        assert (error.code, error.retryable) == (pb.ERROR_CODE_BROKER_UNAVAILABLE, True), error
    return ids


async def texts_of(door: Door) -> list[str]:
    """What a door has kept, in its order."""
    reader = await door.subscribe(history="1000")
    await door.publish("the end")
    heard = await reader.hear_until("the end")
    return [event.message for event in heard if event.kind == pb.EVENT_KIND_MESSAGE]


async def test_sqlite(spawn: Spawn, disk: Disk) -> None:
    """It goes on by itself once there is room, and has everything after a kill."""
    store = f"--store=sqlite:{disk.folder}/chat.db"
    server = await spawn(store)
    ana, bob = await server.connect("ana", client="a"), await server.connect("bob")
    assert not refused(await say_all(ana, ["0"]))
    disk.fill()
    answers = await say_all(ana, [f"{n}" for n in range(1, _COUNT)])
    late = refused(answers)
    assert late
    assert "disk is full" in answers[late[0]].error.reason
    disk.free()
    assert not refused(await say_all(ana, late))
    heard = [event.message for event in await bob.hear_some(_COUNT)]
    assert sorted(heard) == sorted(f"ana: {n}" for n in range(_COUNT))
    server.signal(signal.SIGKILL)
    await server.exit()
    assert await texts_of(await spawn(store)) == heard


async def test_nats(serve: Serve, nats_program: Path, tmp_path: Path, disk: Disk, http: aiohttp.ClientSession) -> None:
    """NATS stores nothing more, which is told, until it is restarted; it has everything then."""
    store = f'jetstream {{ store_dir: "{disk.folder}/js", max_file: 1GB, sync_interval: always }}'
    nats = NatsServer(nats_program, tmp_path / "nats", more=store, store=False)
    nats.start()
    await nats.ready()
    try:
        door = await serve(store=nats.url, cluster=token_hex(4), broker_patience_s=3, http_port=0)
        ana, bob = await door.connect("ana", client="a"), await door.connect("bob")
        assert not refused(await say_all(ana, ["0"]))
        disk.fill()
        late = refused(await say_all(ana, [f"{n}" for n in range(1, _COUNT)]))
        assert late
        said = ""
        while "NATS does not store messages: it has answered none for 3 s" not in said:
            refused(await say_all(ana, late[:1]))
            async with http.get(f"{door.http}/readyz") as response:
                said = await response.text()
        disk.free()
        nats.kill(signal.SIGTERM)
        nats.start()
        while left := refused(await within(say_all(ana, late))):
            late = left
        heard = [event.message for event in await bob.hear_some(_COUNT)]
        assert sorted(heard) == sorted(f"ana: {n}" for n in range(_COUNT))
        assert await texts_of(door) == heard
        broker = door.server.hub._broker
        await eventually(lambda: not broker._courier.trouble)  # type: ignore[attr-defined]
        await door.close()
        await door.server.stop()
    finally:
        nats.kill()
