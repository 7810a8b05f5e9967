"""A door behind TLS and its client, without sockets."""

# ruff: noqa: D102  # most methods are asyncio's

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from bcast_grpc.transport.small_reads import SmallReader
from bcast_grpc.transport.tls.certificates import Certificates
from bcast_grpc.transport.tls.handshake import Handshakes
from bcast_grpc.transport.tls.transport import TlsTransport
from bcast_grpc.transport.turns import Turns
from tests.authority import HOST, Authority


class Below(asyncio.Transport):
    """A plain transport that goes nowhere.

    Attributes:
        sent: what was written to it.
        events: what else it was told.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.events: list[str] = []
        self.reading = True
        self.protocol: Any = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol.protocol if isinstance(protocol, SmallReader) else protocol

    def is_closing(self) -> bool:
        return "close" in self.events or "abort" in self.events

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.events
        self.sent += data

    def writelines(self, list_of_data: Any) -> None:
        for data in list_of_data:
            self.write(data)

    def write_eof(self) -> None:
        self.events.append("eof")

    def close(self) -> None:
        self.events.append("close")

    def abort(self) -> None:
        self.events.append("abort")

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Door(asyncio.Protocol):
    """A door's protocol that notes what it is told."""

    transport: TlsTransport

    def __init__(self) -> None:
        self.heard = bytearray()
        self.events: list[str] = []
        self.pauses: Iterator[bool] = iter(())
        self.keeps_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, TlsTransport)
        self.transport = transport
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        assert data
        assert "eof" not in self.events
        self.heard += data
        if next(self.pauses, False):
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self.events.append("eof")
        return self.keeps_open

    def connection_lost(self, error: Exception | None) -> None:
        self.events.append(f"lost: {error}")


class Client:
    """A client of TLS without a network."""

    def __init__(self, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = context.wrap_bio(self._incoming, self._outgoing, server_hostname=HOST, session=session)
        self.heard = bytearray()
        self.ended = False

    def take(self, data: bytes) -> None:
        """Read what the server has sent."""
        self._incoming.write(data)
        try:
            self.ssl.do_handshake()
            while not self.ended:
                got = self.ssl.read(65536)
                self.ended = not got
                self.heard += got
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True

    def say(self, data: bytes) -> None:
        """Write."""
        self.ssl.write(data)

    def end(self) -> None:
        """Write nothing more."""
        with suppress(ssl.SSLWantReadError):
            self.ssl.unwrap()

    def sent(self) -> bytes:
        """What there is for the server."""
        return self._outgoing.read()


class Pair:
    """A client and a door, with the bytes between them in the test's hands."""

    def __init__(
        self,
        authority: Authority,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        *,
        client_ca: Path | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.turns = Turns(loop)
        certificates = Certificates(*authority.sign("server"), client_ca)
        self.handshakes = Handshakes(certificates, "", 10, Turns(loop), self.turns)
        self.below, self.door = Below(), Door()
        self.below.protocol = self.handshakes.begin(lambda _: self.door, "127.0.0.1:1")
        self.below.protocol.connection_made(self.below)
        context = authority.context()
        context.maximum_version = version
        self.client = Client(context)

    async def exchange(self, sizes: Iterator[int] | None = None) -> None:
        """Carry what both have sent, cut into pieces, until neither has anything more to say."""
        sizes = sizes or iter(())
        while True:
            self.client.take(bytes(self.below.sent))
            self.below.sent.clear()
            data = self.client.sent()
            while data and not self.below.is_closing():
                while not self.below.reading:  # noqa: ASYNC110  # it says so to nobody
                    await asyncio.sleep(0)
                size = next(sizes, len(data))
                self.below.protocol.data_received(data[:size])
                data = data[size:]
            for _ in range(3):
                await asyncio.sleep(0)
            if not self.below.sent:
                return
