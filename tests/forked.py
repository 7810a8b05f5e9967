"""Processes that are forked with everything imported already: a start then costs a fifth of a new interpreter's.

``multiprocessing``'s fork server does it. It has one thread, so that what is forked is as good as new.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import runpy
import sys
from asyncio import StreamReader
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from signal import SIGKILL, Signals
from unittest import mock

_IMPORTED = ["tests.preloaded"]

_context = get_context("forkserver")
_context.set_forkserver_preload(_IMPORTED)


def fork(target: Callable[..., object], *arguments: object) -> ForkServerProcess:
    """Call ``target(*arguments)`` in a process of its own. It ends at the latest when this one does."""
    process = _context.Process(target=target, args=arguments, daemon=True)
    main = sys.modules["__main__"]  # what runs the tests is not to be imported into it
    with mock.patch.multiple(main, __spec__=None, __file__=None, create=True):
        process.start()
    return process


def _nothing() -> None:
    """Do nothing."""


class Forked:
    """A Python process, with the part of ``asyncio.subprocess.Process`` that tests use. Its stdin is empty.

    Attributes:
        stdout, stderr: what it writes.
        returncode: how it ended, negative for a signal; None while it runs.
    """

    def __init__(self, process: ForkServerProcess) -> None:
        assert process.pid
        self.pid = process.pid
        self.stdout = StreamReader()
        self.stderr = StreamReader()
        self.returncode: int | None = None
        self._process = process
        self._over = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._pipes: list[asyncio.ReadTransport] = []
        self._sentinel = process.sentinel
        self._loop.add_reader(self._sentinel, self._end)

    @classmethod
    async def run(
        cls, module: str, *arguments: str, stderr: int | None = None, first: Callable[[], object] = _nothing
    ) -> Forked:
        """Do what ``python -m module arguments`` does.

        Args:
            module: its name.
            *arguments: its arguments.
            stderr: where it writes its errors, if that is not to be read here.
            first: what it does before.
        """
        with ExitStack() as stack:
            (out, out_end), (err, err_end) = (_context.Pipe(duplex=False) for _ in range(2))
            for end in (out, out_end, err, err_end):
                stack.enter_context(end)
            if stderr is not None:
                err_end = stack.enter_context(Connection(os.dup(stderr), readable=False))
            surroundings = (dict(os.environ), str(Path.cwd()), out_end, err_end)
            forked = cls(fork(_become, module, arguments, *surroundings, first))
            await forked._read(out, forked.stdout)
            await forked._read(err, forked.stderr)
            return forked

    def send_signal(self, number: Signals) -> None:
        """Send it a signal, if it has not ended."""
        if self._process.exitcode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(SIGKILL)

    async def wait(self) -> int:
        """Wait until it ends."""
        await self._over.wait()
        assert self.returncode is not None
        return self.returncode

    async def communicate(self) -> tuple[bytes, bytes]:
        """Wait until it ends, and return what it wrote since the last read."""
        stdout, stderr, _ = await asyncio.gather(self.stdout.read(), self.stderr.read(), self.wait())
        return stdout, stderr

    def close(self) -> None:
        """Read no more of what it writes."""
        for pipe in self._pipes:
            pipe.close()

    async def _read(self, end: Connection, reader: StreamReader) -> None:
        file = os.fdopen(os.dup(end.fileno()), "rb", buffering=0)
        pipe, _ = await self._loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
        self._pipes.append(pipe)

    def _end(self) -> None:
        self._loop.remove_reader(self._sentinel)
        self._process.join()
        self.returncode = self._process.exitcode
        self._over.set()


def _become(
    module: str,
    arguments: Sequence[str],
    environment: dict[str, str],
    folder: str,
    out: Connection,
    err: Connection,
    first: Callable[[], object],
) -> None:
    """Run a module as ``__main__``, in the forked process."""
    for number, end in ((1, out), (2, err)):
        os.dup2(end.fileno(), number)
        end.close()
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    first()
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()
