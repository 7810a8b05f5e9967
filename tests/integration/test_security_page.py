"""The commands of ``docs/security.md`` and of the README's way to a network, as a newcomer pastes them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from asyncio.subprocess import PIPE, STDOUT, Process, create_subprocess_shell
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.authority import Authority

from .peers import begun, within

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "security.md"
RIGHTS = re.search(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)


def commands(text: str) -> Iterator[str]:
    """Every command, in the order of the page; those that go on in the next line are one."""
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        yield from block.replace("\\\n", " ").strip().splitlines()


def environment(**more: str) -> dict[str, str]:
    """What a shell has where the project is installed."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONUNBUFFERED": "1", **more}


class Pasted:
    """Runs commands: servers on free ports, which clients are then told of."""

    def __init__(self, folder: Path, **environment_: str) -> None:
        self._folder = folder
        self._environment = environment(**environment_)
        self._server: Process | None = None
        self._clients: list[Process] = []
        self._target = ""

    async def run(self, command: str) -> None:
        """Run one as it stands, but for the ports."""
        if "bcast_grpc.server" in command:
            await self.stop()
            command = re.sub(r"(--\S*port) \d+", r"\1 0", command)
            self._server = await self._start(f"exec {command} --port 0")
            assert self._server.stdout
            while not (line := (await begun(self._server.stdout.readline())).decode()).startswith("listening on grpc"):
                assert line, command
            self._target = line.removeprefix("listening on ").strip().replace("127.0.0.1", "localhost")
        elif "bcast_grpc.client" in command:
            command = command.replace("grpcs://localhost:50051", self._target)
            if "grpcs://" not in command:
                command = command.replace("-m bcast_grpc.client", f"-m bcast_grpc.client {self._target}")
            client = await self._start(f"echo hola | ({command})")
            said, _ = await begun(client.communicate())
            reads_only = "--name bob" in command
            assert (client.returncode, b"not allowed to send" in said) == (int(reads_only), reads_only), said
        else:
            done = subprocess.run(  # noqa: ASYNC221
                command, shell=True, cwd=self._folder, env=self._environment, capture_output=True, text=True
            )
            assert done.returncode == 0, (command, done.stderr)

    async def stop(self) -> None:
        """Stop the server."""
        if self._server:
            self._server.terminate()
            await within(self._server.communicate())
            self._server = None

    async def _start(self, command: str) -> Process:
        return await create_subprocess_shell(
            command, cwd=self._folder, env=self._environment, stdout=PIPE, stderr=STDOUT
        )


@pytest.mark.one_engine
@pytest.mark.timeout(180)
async def test_every_command_does_what_the_page_says(tmp_path: Path) -> None:
    """From the first token to an authority of one's own, and certificates of clients."""
    assert RIGHTS
    (tmp_path / "rights.toml").write_text(RIGHTS[1])
    pasted = Pasted(tmp_path)
    ran = 0
    try:
        for command in commands(PAGE.read_text()):
            if "$TOKEN" in command:
                command = command.replace("$TOKEN", "$(python -m bcast_grpc.token --key secret --sub ana)")
            await pasted.run(command)
            ran += 1
    finally:
        await pasted.stop()
    assert ran > 8


@pytest.mark.one_engine
@pytest.mark.timeout(180)
async def test_the_way_to_a_network_is_the_readmes(tmp_path: Path, authority: Authority) -> None:
    """With a certificate of an authority that clients trust anyway; here on this machine alone."""
    section = (ROOT / "README.md").read_text().partition("## To go on a network")[2].partition("\n## ")[0]
    files = authority.sign("cert")
    files.key.rename(tmp_path / "key.pem")
    pasted = Pasted(tmp_path, SSL_CERT_FILE=str(authority.file))
    try:
        for command in commands(section):
            for written, tried in (("0.0.0.0", "127.0.0.1"), ("chat.example.org", "localhost")):
                command = command.replace(written, tried)
            await pasted.run(command)
    finally:
        await pasted.stop()
