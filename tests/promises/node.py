"""The server, in a process of its own, that may be killed, stopped, frozen and given a full disk."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress

from tests.integration.peers import PATIENCE_S, within

from .records import Door

_SCHEMES: dict[Door, str] = {"grpc": "grpc", "ws": "http", "tcp": "tcp"}
"""The doors in the order in which they are told."""


class Node:
    """``python -m bcast_grpc.server`` with all doors open, always on the same ports.

    Attributes:
        addresses: where each door is, once started.
        turns: how often it went down or came up; odd while it is down.
        log: what it wrote on stderr, in all its lives.
    """

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.addresses: dict[Door, str] = {}
        self.turns = 1
        self.log: list[str] = []

    async def start(self) -> None:
        """Start it, and wait until it listens.

        Raises:
            AssertionError: it does not.
        """
        command = [sys.executable, "-m", "bcast_grpc.server", *self._ports(), *self._arguments]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("BCAST_")}
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=environ)
        self._process = process
        self._reading = asyncio.create_task(self._read_log(process))
        assert process.stdout
        for door, scheme in _SCHEMES.items():
            line = (await within(process.stdout.readline())).decode().strip()
            assert line.startswith(f"listening on {scheme}://"), f"the server does not start: {self.log[-5:]}"
            self.addresses[door] = line.rpartition("/")[2]
        self.turns += 1

    def _ports(self) -> list[str]:
        ports = {door: self.addresses.get(door, "").rpartition(":")[2] or "0" for door in _SCHEMES}
        return ["--port", ports["grpc"], "--http-port", ports["ws"], "--tcp-port", ports["tcp"]]

    async def kill(self) -> None:
        """Kill it, without a word."""
        self.turns += 1
        self._signal(signal.SIGKILL)
        await self._end()

    async def drain(self) -> int:
        """Stop it well, and return its exit code; it is killed if it does not end in time."""
        self.turns += 1
        self._signal(signal.SIGTERM)
        try:
            return await self._end()
        except TimeoutError:
            await self.kill()
            raise

    def freeze(self) -> None:
        """Give it no time to run."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it run again."""
        self._signal(signal.SIGCONT)

    def fill_disk(self, max_bytes: int) -> None:
        """Let no file of it grow beyond a size: a write that would fails with ``EFBIG``."""
        self._limit_files(max_bytes)

    def free_disk(self) -> None:
        """Let its files grow again."""
        self._limit_files(resource.RLIM_INFINITY)

    def _limit_files(self, max_bytes: int) -> None:
        if self._process:
            with suppress(ProcessLookupError):
                resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (max_bytes, resource.RLIM_INFINITY))

    def _signal(self, number: signal.Signals) -> None:
        if self._process:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _end(self) -> int:
        assert self._process
        assert self._reading
        async with asyncio.timeout(PATIENCE_S):
            code = await self._process.wait()
            await self._reading
        return code

    async def _read_log(self, process: Process) -> None:
        assert process.stderr
        async for line in process.stderr:
            self.log.append(line.decode().rstrip())
