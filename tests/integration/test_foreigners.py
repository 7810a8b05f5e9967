"""Who is not a gRPC client at the gRPC port is answered in words."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from hpack import Decoder

from bcast_grpc.http2 import frames as wire
from bcast_grpc.http2.states import Kind
from tests.http2.peer import GREETING, data, headers

from .conftest import LocalDoor
from .peers import within

pytestmark = pytest.mark.grpc_engine("native", reason="grpcio's core answers in its own way")

END_STREAM = 0x1


async def ask(door: LocalDoor, *sent: bytes) -> bytes:
    """Return all that the server sends until it hangs up."""
    host, _, port = door.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.writelines(sent)
    try:
        return await within(reader.read())
    finally:
        writer.close()
        await writer.wait_closed()


async def answer(door: LocalDoor, *request: bytes) -> tuple[dict[str, str], bytes, dict[str, str]]:
    """Return the fields, the body and the trailers that a request over HTTP/2 is answered with."""
    host, _, port = door.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.writelines([GREETING, *request])
    decoder, body = Decoder(), b""
    sections: list[dict[str, str]] = []
    try:
        while True:
            head = await within(reader.readexactly(wire.HEADER_SIZE))
            payload = await within(reader.readexactly(int.from_bytes(head[:3])))
            if head[3] == Kind.HEADERS:
                sections.append({str(name): str(value) for name, value in decoder.decode(payload)})
            elif head[3] == Kind.DATA:
                body += payload
            if head[3] in (Kind.HEADERS, Kind.DATA) and head[4] & END_STREAM:
                break
    finally:
        writer.close()
        await writer.wait_closed()
    return sections[0], body, sections[-1]


def request(method: str, *more: tuple[str, str]) -> list[tuple[str, str]]:
    """Return the fields of a request."""
    return [(":method", method), (":scheme", "http"), (":path", "/"), (":authority", "here"), *more]


async def test_http_1(door: LocalDoor) -> None:
    """It gets an answer that says what this port is."""
    said = await ask(door, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert said.endswith(b"or the server's http-port for browsers\n")


async def test_tls(door: LocalDoor) -> None:
    """It fails at once, since no TLS is spoken here."""
    host, _, port = door.address.rpartition(":")
    with pytest.raises(ssl.SSLError, match="WRONG_VERSION_NUMBER"):
        await within(asyncio.open_connection(host, int(port), ssl=True))


@pytest.mark.parametrize("sent", [b"SSH-2.0-OpenSSH_9.9\r\n", b'{"msg":"hola"}\n'])
async def test_other_protocols(door: LocalDoor, sent: bytes) -> None:
    """The server hangs up without a word that they could take for one of theirs."""
    assert await ask(door, sent) == b""


async def test_a_browser(door: LocalDoor) -> None:
    """GET is answered with a text; HEAD is not."""
    for method in ("GET", "HEAD"):
        fields, body, last = await answer(door, headers(1, fields=request(method), ended=True))
        assert (fields[":status"], fields["allow"], last["grpc-status"]) == ("405", "POST", "13")
        assert body == (b"" if method == "HEAD" else f"{last['grpc-message']}\n".encode())


@pytest.mark.parametrize("flags", [END_STREAM, 0])
async def test_another_content_type(door: LocalDoor, flags: int) -> None:
    """It is answered once all of it has come; or after a while, for those who send no end before they are answered."""
    post = headers(1, fields=request("POST", ("content-type", "application/json")))
    fields, body, last = await answer(door, post, data(1, b"{}"), data(1, b"{}", flags))
    assert (fields[":status"], last["grpc-status"]) == ("415", "13")
    assert fields["content-type"] == "text/plain; charset=utf-8"
    assert body.endswith(b"have the content-type application/grpc\n")


@pytest.mark.parametrize("name", ["content-type", "te", "grpc-timeout", "grpc-encoding"])
async def test_what_a_call_begins_with_is_given_once(door: LocalDoor, name: str) -> None:
    """A proxy may look at the first of two fields and a server at the second."""
    values = {"content-type": "application/grpc", "te": "trailers", "grpc-timeout": "5S", "grpc-encoding": "identity"}
    fields = request("POST", *values.items(), (name, values[name]))
    _, _, last = await answer(door, headers(1, fields=fields, ended=True))
    assert (last["grpc-status"], last["grpc-message"]) == ("13", f"{name}: is given twice; it must be given once")
