"""The server, in a process of its own, that may be killed, stopped, frozen and given a full disk or a wrong clock."""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.forked import Forked
from tests.integration.peers import PATIENCE_S, START_S, begun

from .records import Door
from .stepped import step

_SCHEMES: dict[Door, str] = {"grpc": "grpc", "ws": "http", "tcp": "tcp"}
"""The doors in the order in which they are told."""

_SUPERVISED_S = 2 * START_S

_PIPE_BYTES = 4096  # small, so that it is soon full when nobody reads the log


class _Log(asyncio.Protocol):
    """The reading end of the server's stderr."""

    def __init__(self, lines: list[str]) -> None:
        self.ended = asyncio.Event()
        self._lines = lines
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *complete, self._rest = (self._rest + data).split(b"\n")
        self._lines += [line.decode().rstrip() for line in complete]

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


class Node:
    """``python -m bcast_grpc.server`` with all doors open, always on the same ports.

    Args:
        folder: for the file by which its clock is set.
        *arguments: its settings.
        addresses: where its doors are to be.

    Attributes:
        restarting: held by a fault during which no other one may stop or freeze the server.
        addresses: where each door is.
        turns: how often it went down or came up; odd while it is down.
        log: what it wrote on stderr, in all its lives.
    """

    def __init__(self, folder: Path, *arguments: str, addresses: Mapping[Door, str]) -> None:
        self._clock = folder / "clock"
        step(self._clock, 0)
        self._arguments = arguments
        self._process: Forked | None = None
        self._log: _Log
        self._log_pipe: asyncio.ReadTransport
        self._log_unread = False
        self.addresses = addresses
        self.restarting = asyncio.Lock()
        self.turns = 1
        self.log: list[str] = []

    async def start(self) -> None:
        """Start it, and wait until it listens.

        Raises:
            AssertionError: it does not.
        """
        stderr = await self._open_log()
        settings = (str(self._clock), *self._ports(), *self._arguments)
        try:
            process = await Forked.run("tests.promises.stepped", *settings, stderr=stderr)
        finally:
            os.close(stderr)
        self._process = process
        for scheme in _SCHEMES.values():
            line = (await begun(process.stdout.readline())).decode().strip()
            begins = (f"listening on {scheme}://", f"listening on {scheme}s://")
            assert line.startswith(begins), f"the server does not start: {self.log[-5:]}"
        self.turns += 1

    async def start_again(self) -> None:
        """Start it as often as it takes, as supervisors do."""
        try:
            async with asyncio.timeout(_SUPERVISED_S):
                while True:
                    try:
                        return await self.start()
                    except AssertionError:
                        self._signal(signal.SIGKILL)
                        await self._end()
                        await asyncio.sleep(0.2)  # supervisors wait, too
        except TimeoutError:
            raise AssertionError(f"the server does not start: {self.log[-5:]}") from None

    async def _open_log(self) -> int:
        """Read what comes through a pipe; return the end to write to."""
        reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        loop = asyncio.get_running_loop()
        self._log_pipe, self._log = await loop.connect_read_pipe(
            lambda: _Log(self.log), os.fdopen(reading, "rb", buffering=0)
        )
        self._log_unread = False
        return writing

    def _ports(self) -> list[str]:
        ports = {door: self.addresses[door].rpartition(":")[2] for door in _SCHEMES}
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

    def step_clock(self, seconds: float) -> None:
        """Step its wall clock, for this life and the next ones."""
        step(self._clock, seconds)

    def leave_log_unread(self) -> None:
        """Read nothing of its log, so that the pipe fills up."""
        if not self._log_unread:
            self._log_unread = True
            self._log_pipe.pause_reading()

    def read_log(self) -> None:
        """Read its log again."""
        if self._log_unread:
            self._log_unread = False
            self._log_pipe.resume_reading()

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
        async with asyncio.timeout(PATIENCE_S):
            code = await self._process.wait()
            self._process.close()
            self.read_log()
            await self._log.ended.wait()
        return code
