"""The program with a pipe at each end."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, Process

import bcast_grpc
from bcast_grpc import Event, Kind
from tests.forked import Forked

TIMEOUT_S = 60

STARTED: list[Forked] = []


async def start(target: str, *arguments: str, name: str = "log", stdin: int = PIPE, stdout: int = PIPE) -> Forked:
    """Start the program."""
    process = await Forked.run("bcast_grpc.client", target, "--name", name, *arguments, stdin=stdin, stdout=stdout)
    STARTED.append(process)
    return process


async def finish(process: Process | Forked, given: bytes = b"") -> tuple[int, list[str], list[str]]:
    """Give it the rest of its input and wait for its end: its exit code, and its lines on stdout and stderr."""
    async with asyncio.timeout(TIMEOUT_S):
        stdout, stderr = await process.communicate(given if process.stdin else None)
    assert process.returncode is not None
    assert b"Traceback" not in stderr, stderr.decode()
    return process.returncode, (stdout or b"").decode().splitlines(), stderr.decode().splitlines()


async def until(chat: bcast_grpc.Chat, kind: Kind) -> Event:
    """Wait for an event of a kind, and pass over others."""
    async with asyncio.timeout(TIMEOUT_S):
        async for event in chat:
            if event.kind is kind:
                return event
    raise AssertionError("the chat ended")


async def messages(chat: bcast_grpc.Chat) -> list[str]:
    """The texts of all messages until somebody leaves."""
    texts = []
    async with asyncio.timeout(TIMEOUT_S):
        async for event in chat:
            if event.kind is Kind.LEFT:
                break
            if event.kind is Kind.MESSAGE:
                texts.append(event.text)
    return texts


async def read_line(process: Forked) -> str:
    """Wait for its next line on stdout."""
    async with asyncio.timeout(TIMEOUT_S):
        return (await process.stdout.readline()).decode().removesuffix("\n")
