"""A server with a page, in a process of its own, that can go and come again."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from signal import SIGKILL, Signals

from tests.forked import Forked
from tests.integration.peers import begun, within
from tests.ports import ReservedPort

_SAYS = "listening on "


class PageServer:
    """``python -m bcast_grpc.server`` with the HTTP port open.

    Attributes:
        grpc: the address for gRPC.
        http: the address for HTTP.
        scheme: how it is spoken to there: ``http`` or ``https``.
    """

    def __init__(self, *arguments: str, prefix: Sequence[str] = ()) -> None:
        self._arguments = arguments
        self._prefix = prefix
        self._process: Process | Forked | None = None
        self._ports = (ReservedPort(), ReservedPort())
        self.grpc = ""
        self.http = ""
        self.scheme = "http"

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"{self.scheme}://{self.http}"

    async def start(self) -> None:
        """Start it, always at the same ports."""
        grpc_port, http_port = self._ports
        ports = ("--port", f"{grpc_port.number}", "--http-port", f"{http_port.number}")
        settings = (*ports, "--log-level", "warning", "--drain-s", "1", *self._arguments)
        if self._prefix:
            command = (*self._prefix, sys.executable, "-m", "bcast_grpc.server", *settings)
            self._process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
        else:
            self._process = await Forked.run("bcast_grpc.server", *settings, stderr=2)
        assert self._process.stdout
        addresses: dict[str, str] = {}
        while not addresses.keys() >= {"grpc", "http"}:
            line = (await begun(self._process.stdout.readline())).decode()
            assert line.startswith(_SAYS), f"the server said {line!r}"
            scheme, _, address = line.removeprefix(_SAYS).strip().partition("://")
            addresses[scheme.removesuffix("s")] = address
            self.scheme = scheme if scheme.startswith("http") else self.scheme
        self.grpc, self.http = addresses["grpc"], addresses["http"]

    def signal(self, number: Signals) -> None:
        """Send it a signal."""
        if self._process and self._process.returncode is None:
            self._process.send_signal(number)

    def close(self) -> None:
        """Give its ports back, when it has ended."""
        for port in self._ports:
            port.close()

    async def end(self, number: Signals = SIGKILL) -> None:
        """End it, and wait for that."""
        if self._process and self._process.returncode is None:
            self._process.send_signal(number)
            await within(self._process.communicate())
            if isinstance(self._process, Forked):
                self._process.close()


@asynccontextmanager
async def serving(*arguments: str, prefix: Sequence[str] = ()) -> AsyncIterator[PageServer]:
    """Run a server with these arguments, and something before its command."""
    server = PageServer(*arguments, prefix=prefix)
    try:
        await server.start()
        yield server
    finally:
        await server.end()
        server.close()
