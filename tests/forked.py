"""Programs that are forked with everything imported already: a start then costs a fifth of a new interpreter's.

``multiprocessing``'s fork server does it. It has one thread, so that what is forked is as good as new.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import runpy
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.streams import FlowControlMixin
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from multiprocessing import current_process, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from subprocess import DEVNULL, PIPE, TimeoutExpired
from tempfile import TemporaryFile
from unittest import mock

from tests import freezes

_IMPORTED = ["tests.preloaded"]

_context = get_context("forkserver")
_context.set_forkserver_preload(_IMPORTED)


def fork(target: Callable[..., object], *arguments: object) -> ForkServerProcess:
    """Call ``target(*arguments)`` in a process of its own. It ends at the latest when this one does."""
    process = _context.Process(target=target, args=arguments, daemon=True)
    main = sys.modules["__main__"]  # what runs the tests is not to be imported into it
    with mock.patch.multiple(main, __spec__=None, __file__=None, create=True):
        process.start()
    freezes.after_start()
    return process


def _nothing() -> None:
    """Do nothing."""


class Program:
    """What ``python -m module arguments`` does, in a process of its own; with the part of ``Popen`` that tests use.

    Args:
        module: its name.
        *arguments: its arguments.
        descriptors: what it has as stdin, stdout and stderr.
        environment: that of this process, unless given.
        first: what it does before.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        descriptors: Sequence[int],
        environment: Mapping[str, str] | None = None,
        first: Callable[[], object] = _nothing,
    ) -> None:
        given = dict(os.environ if environment is None else environment)
        with ExitStack() as stack:
            ends = [stack.enter_context(Connection(os.dup(number))) for number in descriptors]
            self._process = fork(_become, module, arguments, given, str(Path.cwd()), ends, first)
        assert self._process.pid
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended, negative for a signal; None while it runs."""
        return self._process.exitcode

    @property
    def sentinel(self) -> int:
        """A descriptor that can be read once it has ended."""
        return self._process.sentinel

    def send_signal(self, number: Signals) -> None:
        """Send it a signal, if it has not ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):  # it has ended, but the fork server has not told so yet
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Have it end well."""
        self.send_signal(SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(SIGKILL)

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait until it ends, and return how.

        Raises:
            TimeoutExpired: it has not ended in time.
        """
        self._process.join(timeout_s)
        if self.returncode is None:
            raise TimeoutExpired(self._process.name, timeout_s or 0)
        return self.returncode


def run(module: str, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
    """Run a program to its end; return its exit code and what it wrote."""
    with TemporaryFile("w+") as given, TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        given.write(stdin)
        files = (given, out, err)
        for file in files:
            file.seek(0)
        code = Program(module, *arguments, descriptors=[file.fileno() for file in files]).wait()
        out.seek(0)
        err.seek(0)
        return code, out.read(), err.read()


class Forked:
    """A program, with the part of ``asyncio.subprocess.Process`` that tests use.

    Attributes:
        stdin: what it reads, if that is a pipe.
        stdout, stderr: what it writes, if those are pipes.
        returncode: how it ended, negative for a signal; None while it runs.
    """

    def __init__(self, program: Program) -> None:
        self.pid = program.pid
        self.stdin: StreamWriter | None = None
        self.stdout = StreamReader()
        self.stderr = StreamReader()
        self.returncode: int | None = None
        self._program = program
        self._over = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._pipes: list[asyncio.BaseTransport] = []
        self._sentinel = program.sentinel
        self._loop.add_reader(self._sentinel, self._end)

    @classmethod
    async def run(
        cls,
        module: str,
        *arguments: str,
        stdin: int = DEVNULL,
        stdout: int = PIPE,
        stderr: int = PIPE,
        first: Callable[[], object] = _nothing,
    ) -> Forked:
        """Do what ``python -m module arguments`` does.

        Args:
            module: its name.
            *arguments: its arguments.
            stdin: what it reads, as ``create_subprocess_exec`` is told it.
            stdout: where it writes.
            stderr: where it writes its errors.
            first: what it does before.
        """
        with ExitStack() as stack:
            ends = [_open(wanted, number, stack) for number, wanted in enumerate((stdin, stdout, stderr))]
            program = Program(module, *arguments, descriptors=[theirs for theirs, _ in ends], first=first)
        forked = cls(program)
        await forked._connect(*(ours for _, ours in ends))
        return forked

    def send_signal(self, number: Signals) -> None:
        """Send it a signal, if it has not ended."""
        self._program.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        self._program.kill()

    async def wait(self) -> int:
        """Wait until it ends."""
        await self._over.wait()
        assert self.returncode is not None
        return self.returncode

    async def communicate(self, given: bytes | None = None) -> tuple[bytes, bytes]:
        """Give it the rest of its input, wait until it ends, and return what it wrote since the last read."""
        if self.stdin:
            self.stdin.write(given or b"")
            self.stdin.close()
        stdout, stderr, _ = await asyncio.gather(self.stdout.read(), self.stderr.read(), self.wait())
        return stdout, stderr

    def close(self) -> None:
        """Have nothing more to do with it."""
        for pipe in self._pipes:
            pipe.close()

    async def _connect(self, stdin: int | None, *outputs: int | None) -> None:
        if stdin is not None:
            file = os.fdopen(stdin, "wb", buffering=0)
            pipe, protocol = await self._loop.connect_write_pipe(FlowControlMixin, file)
            self.stdin = StreamWriter(pipe, protocol, None, self._loop)
            self._pipes.append(pipe)
        for end, reader in zip(outputs, (self.stdout, self.stderr), strict=True):
            if end is None:
                reader.feed_eof()
            else:
                await self._read(end, reader)

    async def _read(self, end: int, reader: StreamReader) -> None:
        file = os.fdopen(end, "rb", buffering=0)
        pipe, _ = await self._loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
        self._pipes.append(pipe)

    def _end(self) -> None:
        self._loop.remove_reader(self._sentinel)
        self.returncode = self._program.wait()
        self._over.set()


def _open(wanted: int, number: int, stack: ExitStack) -> tuple[int, int | None]:
    """Return what a program gets as one of its descriptors, until the stack is closed, and our end if it is a pipe."""
    ours = None
    if wanted == PIPE:
        reading, writing = os.pipe()
        theirs, ours = (writing, reading) if number else (reading, writing)
    else:
        theirs = os.open(os.devnull, os.O_RDWR) if wanted == DEVNULL else os.dup(wanted)
    stack.callback(os.close, theirs)
    return theirs, ours


def _become(
    module: str,
    arguments: Sequence[str],
    environment: dict[str, str],
    folder: str,
    ends: Sequence[Connection],
    first: Callable[[], object],
) -> None:
    """Run a module as ``__main__``, in the forked process."""
    for number, end in enumerate(ends):
        os.dup2(end.fileno(), number)
        end.close()
    sys.stdin, sys.stdout = (os.fdopen(number, mode, closefd=False) for number, mode in ((0, "r"), (1, "w")))
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    current_process().daemon = False  # it may start processes of its own
    first()
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()
        _flush("stdout")
        _flush("stderr")


def _flush(name: str) -> None:
    """Write what is left; where nobody can read it, drop it: it does not change how the program ended."""
    try:
        getattr(sys, name).flush()
    except OSError:
        setattr(sys, name, None)
