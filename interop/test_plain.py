"""The plain case in Go and Node, as the README shows it."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import LANGUAGES, Run, Serve, built_or_not
from .languages import ADDRESS, Language
from .program import PATIENCE_S

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


async def test_a_conversation(serve: Serve, run: Run, plain: Language, tmp_path: Path) -> None:
    """Lines in, lines out; the end of the input is a goodbye, and what was said before it has been heard."""
    server = await serve()
    bob = await run(plain, server.grpc, name="bob")
    await bob.is_in()
    name = PLAIN[plain.name][1]
    with aimed(plain, server.grpc, tmp_path) as command:
        process = await asyncio.create_subprocess_shell(
            command,
            cwd=plain.folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            await bob.hears(f"{name} joined")
            await bob.say({"msg": "hola"})
            assert process.stdout
            async with asyncio.timeout(PATIENCE_S):
                assert await process.stdout.readline() == b"bob: hola\n"
                out, err = await process.communicate("one\n¿dos?\n".encode())
        finally:
            if process.returncode is None:
                process.kill()
    assert (process.returncode, out, err) == (0, b"", b"")
    await bob.hears(f"{name} left")
    assert [event["message"] for event in bob.of_kind("MESSAGE")] == [f"{name}: one", f"{name}: ¿dos?"]


async def test_no_server(serve: Serve, plain: Language, tmp_path: Path) -> None:
    """A call that fails is told, with exit code 1."""
    server = await serve()
    await server.end()
    with aimed(plain, server.grpc, tmp_path) as command:
        process = await asyncio.create_subprocess_shell(
            command, cwd=plain.folder, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(PATIENCE_S):
            assert process.stderr
            err = await process.stderr.read()
            assert await process.wait() == 1
    assert err
