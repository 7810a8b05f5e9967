"""A cable between a client and a server, which may be cut, refused, stalled, slowed, or left hanging at one end."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_CHUNK = 16 * 1024
_DRIP = 512
_BUFFER = 16 * 1024  # small, so that who stops reading is soon felt at the other end
_ACCEPTING_PASSES = 5  # of the loop, until asyncio has called for each connection that came before the listening ended


class _Lane:
    """One connection: two ends, and a pump for each direction."""

    def __init__(self, cable: Cable, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near = near
        self.far = far
        self.pumps: list[asyncio.Task[None]] = []
        self._cable = cable

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes, at the cable's pace, and then that no more will: the other direction goes on."""
        try:
            while some := await reader.read(_CHUNK):
                for begin in range(0, len(some), step := self._cable.step):
                    piece = some[begin : begin + step]
                    await self._cable.flow(len(piece))
                    writer.write(piece)
                    await writer.drain()
            writer.write_eof()
        except (OSError, RuntimeError):  # uvloop's, of a closed transport
            self.reset()  # as the other end's system does, even where nothing is read that would tell of it

    def pump_ended(self, _: asyncio.Task[None]) -> None:
        """Close both ends, if nothing comes from either any more."""
        if all(pump.done() and not pump.cancelled() for pump in self.pumps):
            self.near.close()
            self.far.close()

    @property
    def ended(self) -> bool:
        """Whether both ends are closed."""
        return self.near.is_closing() and self.far.is_closing()

    def hang(self, writer: asyncio.StreamWriter) -> None:
        """Reset one end, and leave the other one open without a word."""
        for pump in self.pumps:
            pump.cancel()
        _reset(writer)

    def reset(self) -> None:
        """Reset both ends."""
        _reset(self.near)
        _reset(self.far)


class Cable:
    """Passes on whatever comes to ``address``.

    Args:
        target: where to; or what says so, for each connection anew.
        buffer_bytes: how much each socket takes that is not read.

    """

    def __init__(self, target: str | Callable[[], str], buffer_bytes: int = _BUFFER) -> None:
        self._target = target
        self._buffer_bytes = buffer_bytes
        self._refuses = False
        self._address = ""
        self._lanes: list[_Lane] = []
        self._pumps: set[asyncio.Task[None]] = set()
        self._accepting: set[asyncio.Task[Any]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._bytes_per_s = 0.0
        self._server: asyncio.Server | None = None

    async def lay(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_CHUNK)
        self._address = "{}:{}".format(*self._server.sockets[0].getsockname())

    @property
    def address(self) -> str:
        """What the client connects to."""
        return self._address

    @property
    def step(self) -> int:
        """How many bytes pass at once."""
        return _DRIP if self._bytes_per_s else _CHUNK

    async def flow(self, size: int) -> None:
        """Wait until so many bytes may pass."""
        if self._bytes_per_s:
            await asyncio.sleep(size / self._bytes_per_s)  # the line's pace
        await self._flowing.wait()

    def stall(self) -> None:
        """Let nothing pass, and keep it."""
        self._flowing.clear()

    def slow(self, bytes_per_s: float) -> None:
        """Let only so much pass."""
        self._bytes_per_s = bytes_per_s

    def refuse(self) -> None:
        """Reset all connections, and each that comes."""
        self._refuses = True
        self.cut()

    def mend(self) -> None:
        """Let everything pass again."""
        self._bytes_per_s = 0
        self._refuses = False
        self._flowing.set()

    def cut(self) -> None:
        """Reset all connections at both ends."""
        lanes, self._lanes = self._lanes, []
        for lane in lanes:
            lane.reset()

    def hang_server(self) -> Callable[[], None]:
        """Reset the client's end, and leave the server with a connection on which nothing comes any more.

        Returns:
            Resets the server's end too.
        """
        hanging = list(self._lanes)
        for lane in hanging:
            lane.hang(lane.near)

        def reset() -> None:
            for lane in hanging:
                lane.reset()

        return reset

    def hang_client(self) -> None:
        """Reset the server's end, and leave the client with a connection on which nothing comes any more."""
        for lane in self._lanes:
            lane.hang(lane.far)

    async def close(self) -> None:
        """Take the cable away."""
        if self._server:
            self._server.close()
        self.refuse()
        for pump in self._pumps:
            pump.cancel()
        for _ in range(_ACCEPTING_PASSES):
            await asyncio.sleep(0)
        while self._accepting:
            await asyncio.wait(self._accepting)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)
        if self._refuses:
            _reset(writer)
            return
        far = socket.socket()
        far.setblocking(False)
        for sock in (far, writer.get_extra_info("socket")):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer_bytes)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._buffer_bytes)
        target = self._target if isinstance(self._target, str) else self._target()
        host, _, port = target.rpartition(":")
        try:
            await asyncio.get_running_loop().sock_connect(far, (host, int(port)))
        except OSError:
            far.close()
            _reset(writer)
            return
        far_reader, far_writer = await asyncio.open_connection(sock=far, limit=_CHUNK)
        self._lanes = [lane for lane in self._lanes if not lane.ended]
        if self._refuses:  # since just now
            _reset(far_writer)
            _reset(writer)
            return
        lane = _Lane(self, writer, far_writer)
        self._lanes.append(lane)
        lane.pumps = [
            asyncio.create_task(lane.pump(reader, far_writer)),
            asyncio.create_task(lane.pump(far_reader, writer)),
        ]
        for pump in lane.pumps:
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)
            pump.add_done_callback(lane.pump_ended)


class Road(Cable):
    """No cable at all: a client connects straight to an address, which is chosen for each connection."""

    def __init__(self, target: Callable[[], str]) -> None:
        super().__init__(target)
        self._choose = target

    async def lay(self) -> None:
        """There is nothing to be laid."""

    @property
    def address(self) -> str:
        """Where the client connects to next."""
        return self._choose()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return  # it is closed, and its transport has no loop any more
    with suppress(OSError, ValueError):  # it is closed; uvloop's has no number then
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()  # also if it is being closed: it might wait for ever until the other end reads
