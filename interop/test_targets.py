"""Targets as people write them, the same for all clients: those in examples/, the library and the terminal."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from secrets import token_hex
from signal import SIGKILL

import pytest

import bcast_grpc
from tests import tokens
from tests.authority import Authority
from tests.nats_server import NatsServer

from .conftest import LANGUAGES, Run, Serve, built_or_not
from .languages import ROOT, Language
from .program import PATIENCE_S

ROOM = "salón seguro"
TERMINAL = Language(ROOT, [], [sys.executable, "-m", "bcast_grpc.client"], "terminal", [], secure=True, driver=None)
TABLE = tomllib.loads((ROOT / "interop" / "targets.toml").read_text())


@pytest.fixture(params=[*LANGUAGES, TERMINAL], ids=lambda language: language.name)
def program(request: pytest.FixtureRequest) -> Language:
    """Each language, built, and the terminal."""
    return built_or_not(request.param)


@contextmanager
def nobody() -> Iterator[str]:
    """An address where nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield f"localhost:{one.getsockname()[1]}"


async def test_several_as_people_write_them(serve: Serve, run: Run, program: Language) -> None:
    """With blanks, and a scheme before any: each is found, also where it is not the first that is tried."""
    server = await serve()
    with nobody() as gone:
        for first, second in ((server.grpc, gone), (gone, server.grpc)):
            for target in TABLE["good"]:
                target = target.replace("A", first).replace("B", second)
                one = await run(program, target, json=False)
                await one.write(b"hola\n")
                await one.end_input()
                assert await one.end() == 0, (target, one.err)


@pytest.mark.parametrize("target", TABLE["empty"])
async def test_an_empty_address(run: Run, program: Language, target: str) -> None:
    """It is refused at once, in one line that says what it must be."""
    target = target.replace("A", "127.0.0.1:1").replace("B", "127.0.0.1:2")
    one = await run(program, target)
    assert await one.end() == 2
    (line,) = [line for line in one.err if "address" in line]
    assert f"target: '{target}' has an empty address; it must be HOST:PORT, or several with commas between them" in line


@pytest.mark.parametrize("target", TABLE["empty"])
def test_an_empty_address_in_the_library(target: str) -> None:
    """The same words, before anything is tried."""
    with pytest.raises(ValueError, match="has an empty address; it must be HOST:PORT, or several with commas between"):
        bcast_grpc.connect(target.replace("A", "127.0.0.1:1").replace("B", "127.0.0.1:2"))


# --- over TLS, with a token


def token(who: str) -> str:
    """Return one for the room."""
    return tokens.token(sub=who, exp=time.time() + 600, bcast={"rooms": {ROOM: ["join", "send"]}})


class Scene:
    """Some servers over TLS, of which few will do, and somebody in the room.

    Attributes:
        target: all of them, in one line.
        authority: whom clients trust.
    """

    def __init__(self, serve: Serve, nats: NatsServer, folder: Path) -> None:
        self.target = ""
        self.authority = Authority(folder)
        self._serve = serve
        self._nats = nats
        self._folder = folder

    async def start(self, stack: AsyncExitStack) -> None:
        """Start them: one is not trusted, one is full, one will do, and one will do later; and one is not there."""
        (self._folder / "else").mkdir()
        stranger = Authority(self._folder / "else").sign("server").flags
        keys = ["--token-keys", str(tokens.key_file(self._folder)), "--token-audience", tokens.AUDIENCE]
        shared = [*keys, "--store", self._nats.url, "--cluster", token_hex(4)]
        safe = [*self.authority.sign("server").flags, *shared]
        self._here, self._there = [await self._serve(*safe) for _ in range(2)]
        others = [await self._serve(*stranger, *keys), await self._serve(*safe, "--max-clients", "1")]
        await self._there.end()
        addresses = [one.grpc.replace("127.0.0.1", "localhost") for one in (*others, self._here, self._there)]
        gone = stack.enter_context(nobody())
        self.target = "grpcs://" + ",".join([gone, *addresses])
        self._eva = await stack.enter_async_context(self.connect(f"grpcs://{others[1].grpc}", "eva"))

    def connect(self, target: str, name: str) -> bcast_grpc.Chat:
        """Connect with the library."""
        tls = bcast_grpc.Tls(ca=self.authority.file)
        return bcast_grpc.connect(target, name=name, room=ROOM, token=token(name), tls=tls)

    async def move(self) -> None:
        """Kill the server that clients are at, when another one is there."""
        await self._there.start()
        await self._here.end(SIGKILL)

    async def hears(self, text: str) -> None:
        """Wait until it is said to the others."""
        async with asyncio.timeout(PATIENCE_S):
            async for event in self._eva:
                if event.kind is bcast_grpc.Kind.MESSAGE:
                    assert event.text == text
                    return


@pytest.fixture
async def scene(serve: Serve, shared_nats: NatsServer, tmp_path: Path) -> AsyncIterator[Scene]:
    """Start the servers."""
    async with AsyncExitStack() as stack:
        scene = Scene(serve, shared_nats, tmp_path)
        await scene.start(stack)
        yield scene


async def test_over_tls_with_a_token(scene: Scene, run: Run, program: Language) -> None:
    """A server that is not there, one that is not trusted and a full one are passed over, and one that dies is left."""
    options, environ = ["--tls-ca", str(scene.authority.file)], {"BCAST_TOKEN": token("ana")}
    ana = await run(program, scene.target, name="ana", room=ROOM, json=False, options=options, environ=environ)
    await ana.write(b"one\n")
    await scene.hears("one")
    await scene.move()
    await ana.write(b"two\n")
    await scene.hears("two")
    await ana.end_input()
    assert await ana.end() == 0


async def test_the_library_over_tls_with_a_token(scene: Scene) -> None:
    """The same."""
    async with scene.connect(scene.target, "ana") as ana:
        await ana.send("one")
        await scene.hears("one")
        await scene.move()
        await ana.send("two")
        await scene.hears("two")
