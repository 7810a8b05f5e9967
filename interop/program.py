"""A client of some language, as a process that is told what to say."""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from signal import SIGINT, SIGKILL
from typing import Any, TypeAlias

from .languages import Language

Json: TypeAlias = dict[str, Any]

PATIENCE_S = 45.0
DEAD_PROXY = dict.fromkeys(
    ("http_proxy", "https_proxy", "HTTPS_PROXY", "grpc_proxy", "all_proxy"), "http://127.0.0.1:9"
)
_MAX_LINE_BYTES = 2**21
_NOT_HEARD = {"EVENT_KIND_WELCOME", "EVENT_KIND_PROGRESS", "EVENT_KIND_CLOSING"}


class Program:
    """One of them.

    Attributes:
        language: what it is written in.
        name: who it is to the others.
        out: what it printed, a line an entry; events, where it speaks JSON.
        err: its lines on stderr.
    """

    def __init__(
        self,
        language: Language,
        address: str,
        *,
        name: str,
        room: str = "",
        json: bool = True,
        options: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self.language = language
        self.name = name
        self.out: list[Any] = []
        self.err: list[str] = []
        flags = ["--name", name, *(["--room", room] if room else []), *(["--json"] if json else []), *options]
        self._command = [*prefix, *language.run, *flags, address]
        self._json = json
        self._environ = environ or {}
        self._changed = asyncio.Event()
        self._process: Process
        self._readers: asyncio.Future[Any]

    def __repr__(self) -> str:
        return self.name

    async def start(self) -> None:
        """Start it."""
        environ = os.environ | {"LC_ALL": "C.UTF-8"}  # Java reads its arguments as the locale says
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=self.language.folder,
            env={**environ, **self._environ},
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            limit=_MAX_LINE_BYTES,
            start_new_session=True,
        )
        self._readers = asyncio.gather(self._read_out(), self._read_err())

    async def write(self, some: bytes) -> None:
        """Give it some input."""
        assert self._process.stdin
        self._process.stdin.write(some)
        await self._process.stdin.drain()

    async def say(self, *requests: Json) -> None:
        """Give it requests."""
        await self.write(b"".join(json.dumps(request, ensure_ascii=False).encode() + b"\n" for request in requests))

    async def end_input(self) -> None:
        """Have no more for it to say."""
        assert self._process.stdin
        self._process.stdin.close()

    def close_output(self) -> None:
        """Read no more of what it prints."""
        transport = self._process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]  # there is no other way
        transport.close()

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(SIGINT)

    async def end(self) -> int:
        """Wait until it ends by itself.

        Returns:
            Its exit code.
        """
        async with asyncio.timeout(PATIENCE_S):
            await self._readers
            return await self._process.wait()

    async def kill(self) -> None:
        """End it."""
        if self._process.returncode is None:
            self._process.send_signal(SIGKILL)
        await self._readers
        await self._process.wait()

    async def until(self, true: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
        """Wait until something is true.

        Raises:
            AssertionError: in vain; or it ended.
        """
        try:
            async with asyncio.timeout(patience_s):
                while not true():
                    assert not self._readers.done(), f"{self} ended instead of {what}: {self.err[-3:]}"
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            last = [shortened(line) for line in self.out[-5:]]
            raise AssertionError(f"{self}: no {what}; the last lines are {last}, and {self.err[-3:]}") from None

    async def complains(self, times: int = 1) -> None:
        """Wait until it has said something on stderr."""
        await self.until(lambda: len(self.err) >= times, f"complaint ({times})")

    async def is_in(self, times: int = 1) -> None:
        """Wait until it is in, for the first or another time."""
        await self.until(lambda: len(self.of_kind("WELCOME")) >= times, f"welcome ({times})")

    async def hears(self, message: str, since: int = 0) -> None:
        """Wait until it hears a message."""
        await self.until(lambda: any(event["message"] == message for event in self.out[since:]), f"{message!r}")

    async def hears_more(self, count: int) -> None:
        """Wait for some more events, whatever they are."""
        wanted = len(self.out) + count
        await self.until(lambda: len(self.out) >= wanted, f"{count} more events")

    async def is_answered(self, id_: str, since: int = 0) -> None:
        """Wait for the answer to a request."""
        await self.until(lambda: any(event.get("id") == id_ for event in self.out[since:]), f"answer to {id_!r}")

    def of_kind(self, *kinds: str) -> list[Json]:
        """Return events of some kinds."""
        return [event for event in self.out if event["kind"].removeprefix("EVENT_KIND_") in kinds]

    def heard(self, since: int = 0) -> list[Json]:
        """Return what it was told of others."""
        return [event for event in self.out[since:] if not event.get("id") and event["kind"] not in _NOT_HEARD]

    async def _read_out(self) -> None:
        assert self._process.stdout
        async for line in self._process.stdout:
            text = line.decode().removesuffix("\n")
            self.out.append(json.loads(text) if self._json else text)
            self._changed.set()
        self._changed.set()

    async def _read_err(self) -> None:
        assert self._process.stderr
        async for line in self._process.stderr:
            self.err.append(line.decode(errors="replace").rstrip())
            self._changed.set()


def shortened(value: Any) -> str:
    """Return a value as text that fits on a line or two."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:150]}… {len(text)} characters"
