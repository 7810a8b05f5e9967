"""docs/cluster.md: its configurations start, and its commands do what it says."""

from __future__ import annotations

import asyncio
import re
import shlex
from contextlib import ExitStack
from pathlib import Path

import pytest

from bcast_grpc.store.cli import run
from tests.nats_server import NatsServer
from tests.ports import free_port

from .conftest import Serve
from .peers import eventually, within

PAGE = Path(__file__).parent.parent.parent / "docs" / "cluster.md"

pytestmark = pytest.mark.one_engine


def configuration(title: str) -> str:
    """The first block behind a title."""
    section = PAGE.read_text().split(f"\n### {title}\n")[1]
    found = re.search(r"(?:^    .*\n)+", section, re.MULTILINE)
    assert found
    return re.sub(r"^    ", "", found[0], flags=re.MULTILINE)


def commands() -> list[list[str]]:
    """The commands of ``bcast-store``, without their comments."""
    lines = re.findall(r"^    python -m bcast_grpc\.store (.*)$", PAGE.read_text(), re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def server(
    program: Path, folder: Path, text: str, name: str, port: int = 0, others: tuple[int, ...] = ()
) -> NatsServer:
    """A server with a configuration of the page, at ports and in a folder of the test's own."""
    made = NatsServer(program, folder, name)
    text = text.replace("server_name: n1", f"server_name: {name}").replace("0.0.0.0:4222", f"127.0.0.1:{made.port}")
    text = text.replace("127.0.0.1:8222", f"127.0.0.1:{made._monitor}").replace("/var/lib/nats", f"{folder}/js")
    text = text.replace("0.0.0.0:6222", f"127.0.0.1:{port}")
    for number, other in enumerate(others, 2):
        text = text.replace(f"nats://n{number}:6222", f"nats://127.0.0.1:{other}")
    (folder / "nats.conf").write_text(text)
    return made


async def test_one_nats_and_every_command(
    serve: Serve, nats_program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the order of the page, with a server beside, which is stopped for the restoring."""
    nats = server(nats_program, tmp_path / "nats", configuration("One NATS"), "n1")
    nats.start()
    try:
        await nats.ready()
        assert "sync_interval: always" in configuration("One NATS")
        door = await serve(store=nats.url)
        ana = await door.connect("ana")
        await ana.say("hola", id="1")
        await ana.answer("1")
        for words in commands():
            given = [
                nats.url if word == "nats://n1" else str(tmp_path / word) if word == "backup" else word
                for word in words
            ]
            if given[0] == "copy" and given[2] == nats.url:
                await door.close()
                await door.server.stop()
                given.append("--overwrite")
            assert await within(asyncio.to_thread(run, given)) == 0, capsys.readouterr().err
        assert {words[0] for words in commands()} == {"info", "check", "copy", "new-epoch"}
        back = await (await serve(store=nats.url)).connect("bob", history="9")
        assert (await back.hear()).message == "ana: hola"
    finally:
        nats.kill()


async def test_three_nats(serve: Serve, nats_program: Path, tmp_path: Path) -> None:
    """Each record is on two of them, so that one may be killed."""
    text, ports = configuration("Three NATS"), [free_port() for _ in range(3)]
    with ExitStack() as stack:
        nodes = []
        for number, port in enumerate(ports):
            others = tuple(other for other in ports if other != port)
            node = server(nats_program, tmp_path / f"n{number + 1}", text, f"n{number + 1}", port, others)
            stack.callback(node.kill)
            node.start()
            nodes.append(node)
        for node in nodes:
            await node.ready()
        store = f"{nodes[0].url},{nodes[1].url.partition('://')[2]}"
        door = await serve(store=store, store_replicas=3)
        ana, bob = await door.connect("ana"), await door.connect("bob")
        await ana.say("three", id="1")
        await ana.answer("1")
        nodes[2].kill()
        await ana.say("two", id="2")
        assert (await ana.answer("2")).ack.seq == 2
        assert [event.message for event in await bob.hear_some(2)] == ["ana: three", "ana: two"]
        await eventually(lambda: not door.server.hub.readiness.why_not)
