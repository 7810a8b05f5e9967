"""The plain case: in Go and Node as the README shows it, and over a WebSocket as docs/protocol.md does."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from signal import SIGTERM

import pytest

from .conftest import LANGUAGES, Run, Serve, built_or_not
from .languages import ADDRESS, ROOT, Language
from .program import DEAD_PROXY, PATIENCE_S

PLAIN = {"go": ("hello/main.go", "gó"), "node": ("hello.js", "nodo ñ")}


@pytest.fixture(params=PLAIN)
def plain(request: pytest.FixtureRequest) -> Language:
    """Each language that has it."""
    (language,) = (language for language in LANGUAGES if language.name == request.param)
    return built_or_not(language)


@contextmanager
def aimed(language: Language, address: str, scratch: Path) -> Iterator[str]:
    """Have it connect to another address; the command that runs it."""
    source = language.folder / PLAIN[language.name][0]
    text = source.read_text()
    assert ADDRESS in text
    if language.name == "go":
        copy = scratch / "main.go"
        copy.write_text(text.replace(ADDRESS, address))
        overlay = scratch / "overlay.json"
        overlay.write_text(json.dumps({"Replace": {str(source): str(copy)}}))
        yield f"go build -overlay {overlay} -o {scratch}/hello ./hello && exec {scratch}/hello"
        return
    copy = source.with_name(f".{scratch.name}.mjs")  # beside what it imports
    copy.write_text(text.replace(ADDRESS, address))
    try:
        yield f"exec node {shlex.quote(copy.name)}"
    finally:
        copy.unlink()


@asynccontextmanager
async def running(language: Language, address: str, scratch: Path, **environ: str) -> AsyncIterator[Process]:
    """Run it."""
    with aimed(language, address, scratch) as command:
        process = await asyncio.create_subprocess_shell(
            command, cwd=language.folder, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=os.environ | environ
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()


async def test_a_conversation(serve: Serve, run: Run, plain: Language, tmp_path: Path) -> None:
    """Lines in, lines out; the end of the input is a goodbye, and what was said before it has been heard."""
    server = await serve()
    bob = await run(plain, server.grpc, name="bob")
    await bob.is_in()
    name = PLAIN[plain.name][1]
    async with running(plain, server.grpc, tmp_path, **DEAD_PROXY) as process:
        await bob.hears(f"{name} joined")
        await bob.say({"msg": "hola"})
        assert process.stdout
        async with asyncio.timeout(PATIENCE_S):
            assert await process.stdout.readline() == b"bob: hola\n"
            out, err = await process.communicate("\ufeffone\r\n\n¿dos?".encode())
    assert (process.returncode, out, err) == (0, b"", b"")
    await bob.hears(f"{name} left")
    assert [event["message"] for event in bob.of_kind("MESSAGE")] == [f"{name}: one", f"{name}: ¿dos?"]


async def test_a_long_line(serve: Serve, run: Run, plain: Language, tmp_path: Path) -> None:
    """It is heard, with all that comes after it."""
    server = await serve()
    bob = await run(plain, server.grpc, name="bob")
    await bob.is_in()
    async with running(plain, server.grpc, tmp_path) as process, asyncio.timeout(PATIENCE_S):
        out, err = await process.communicate(b"x" * 65_536 + b"\nlast\n")
    assert (process.returncode, out, err) == (0, b"", b"")
    name = PLAIN[plain.name][1]
    await bob.hears(f"{name} left")
    assert [event["message"] for event in bob.of_kind("MESSAGE")] == [f"{name}: {'x' * 65_536}", f"{name}: last"]


@pytest.mark.parametrize("size", [65_537, 5_000_000])
async def test_a_line_that_is_too_long(serve: Serve, plain: Language, tmp_path: Path, size: int) -> None:
    """That it was not sent is told, with exit code 1."""
    server = await serve()
    async with running(plain, server.grpc, tmp_path) as process, asyncio.timeout(PATIENCE_S):
        _, err = await process.communicate(b"x" * size + b"\n")
    assert process.returncode == 1
    assert any(words in err for words in (b"65536", b"larger", b"the limit is"))


async def test_no_server(serve: Serve, plain: Language, tmp_path: Path) -> None:
    """A call that fails is told, with exit code 1."""
    server = await serve()
    await server.end()
    async with running(plain, server.grpc, tmp_path) as process, asyncio.timeout(PATIENCE_S):
        assert process.stderr
        err = await process.stderr.read()
        assert await process.wait() == 1
    assert err


async def test_a_web_socket(serve: Serve, run: Run) -> None:
    """The lines in docs/protocol.md send, hear, and say how it ended."""
    (node,) = (language for language in LANGUAGES if language.name == "node")
    server, text = await serve(), (ROOT / "docs" / "protocol.md").read_text()
    (script,) = re.findall(r"^```js\n(.+?)^```", text, re.MULTILINE | re.DOTALL)
    bob = await run(built_or_not(node), server.grpc, name="bob", room="dev")
    await bob.is_in()
    process = await asyncio.create_subprocess_exec(
        *("node", "--experimental-websocket", "--eval", script.replace("127.0.0.1:8080", server.http)), stdout=PIPE
    )
    try:
        await bob.hears("ana: hola")
        await bob.say({"msg": "¿qué tal?"})
        assert process.stdout
        async with asyncio.timeout(PATIENCE_S):
            heard = [await process.stdout.readline() for _ in range(2)]
            assert [line.decode() for line in heard] == ["sent to 1\n", "bob: ¿qué tal?\n"]
            await server.end(SIGTERM)
            assert (await process.stdout.read()).endswith(b"\n4013 the server is shutting down\n")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
