"""Calls without stubs: reflection tells programs that have never seen the ``.proto`` what there is."""

from __future__ import annotations

import asyncio
import json
import sysconfig
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from .conftest import LocalDoor
from .peers import within

Curl: TypeAlias = Callable[..., Awaitable["Call"]]


class Call:
    """A call that ``buf curl`` makes."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._text = ""

    async def send(self, *requests: dict[str, Any]) -> None:
        """Send requests, while the call goes on."""
        assert self._process.stdin
        self._process.stdin.write(b"".join(json.dumps(request).encode() + b"\n" for request in requests))
        await self._process.stdin.drain()

    async def hear(self) -> dict[str, Any]:
        """Wait for the next response."""
        assert self._process.stdout
        while True:
            try:
                event, end = json.JSONDecoder().raw_decode(self._text.lstrip())
            except ValueError:
                some = await within(self._process.stdout.read(65536))
                assert some, f"the call ended: {self._text}"
                self._text += some.decode()
            else:
                self._text = self._text.lstrip()[end:]
                assert isinstance(event, dict)
                return event

    async def end(self) -> tuple[int, str]:
        """End the input, and wait for the end of the call.

        Returns:
            The exit code, and what was said on stderr.
        """
        assert self._process.stdin
        self._process.stdin.close()  # to write nothing to a program that has ended already is an error with uvloop
        _, err = await within(self._process.communicate())
        assert self._process.returncode is not None
        return self._process.returncode, err.decode()


@pytest.fixture
async def curl(door: LocalDoor) -> AsyncIterator[Curl]:
    """Call the server with ``buf curl``."""
    async with AsyncExitStack() as stack:

        async def start(method: str, *options: str) -> Call:
            process = await asyncio.create_subprocess_exec(
                *(Path(sysconfig.get_path("scripts"), "buf"), "curl", "--protocol", "grpc", "--http2-prior-knowledge"),
                *(*options, f"http://{door.address}/{method}"),
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
            )

            def kill() -> None:
                if process.returncode is None:
                    process.kill()

            stack.callback(kill)
            return Call(process)

        yield start


async def test_a_conversation(door: LocalDoor, curl: Curl) -> None:
    """``Connect`` with live input: what is typed goes out at once, and what others say comes in."""
    bob = await door.connect("bob")
    ana = await curl("bcast_grpc.v1.Chat/Connect", "-H", "bcast-name: Jos%C3%A9", "-H", "bcast-events: all", "-d", "@-")
    await ana.send({"msg": "hola", "id": "1"})
    assert (await ana.hear())["welcome"]["members"] == 2
    assert (await ana.hear())["ack"]["queued"] == 1
    assert (await bob.hear()).message == "José: hola"
    await bob.say("¿qué tal?")
    assert (await ana.hear())["message"] == "bob: ¿qué tal?"
    await ana.send({"operacion": "who"})
    assert (await ana.hear())["message"] == "2 here: bob and José"
    assert await ana.end() == (0, "")
    assert (await bob.hear()).message == "José left"


async def test_single_calls(door: LocalDoor, curl: Curl) -> None:
    """A message, the health, and what there is."""
    bob = await door.connect("bob")
    call = await curl("bcast_grpc.v1.Chat/Publish", "-H", "bcast-name: ci", "-d", '{"msg": "deployed"}')
    assert (await call.hear())["ack"]["queued"] == 1
    assert await call.end() == (0, "")
    assert (await bob.hear()).message == "ci: deployed"
    for service in ("", "bcast_grpc.v1.Chat"):
        call = await curl("grpc.health.v1.Health/Check", "-d", json.dumps({"service": service}))
        assert await call.hear() == {"status": "SERVING"}


async def test_what_is_wrong_is_told(curl: Curl) -> None:
    """With its text and its reason."""
    call = await curl("bcast_grpc.v1.Chat/Subscribe", "-H", "bcast-nam: ana", "-d", "{}")
    code, err = await call.end()
    assert code != 0
    assert json.loads(err)["code"] == "invalid_argument"
    assert "bcast-nam: is not a known key" in json.loads(err)["message"]
