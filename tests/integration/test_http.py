"""The HTTP port is found by all kinds of programs: whatever comes gets a status that says so, and our headers."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import NamedTuple

import pytest
from websockets.exceptions import InvalidStatus

from bcast_grpc.transport import http_requests
from bcast_grpc.transport.http_answers import HEADERS
from tests.authority import Authority

from .conftest import LocalDoor, Serve
from .peers import eventually, within

UPGRADE = b"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
VERSION = b"Sec-WebSocket-Version: 13\r\n"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
HANDSHAKE = UPGRADE + VERSION + KEY


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: str


def request(line: bytes = b"GET / HTTP/1.1", headers: bytes = b"", *, host: bytes = b"Host: 127.0.0.1\r\n") -> bytes:
    """A request as it goes over the wire."""
    return line + b"\r\n" + host + headers + b"\r\n"


async def answer_to(doors: LocalDoor, data: bytes) -> Answer:
    """Send bytes, and read the first answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.server.http_port)
    writer.write(data)
    head = (await within(reader.readuntil(b"\r\n\r\n"))).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    has_body = int(headers.get("content-length", "0")) and not data.startswith(b"HEAD")
    body = await within(reader.readexactly(int(headers["content-length"]))) if has_body else b""
    writer.close()
    return Answer(int(first.split()[1]), headers, body.decode())


def check(answer: Answer) -> None:
    """Hold an answer against what every answer is."""
    for name, value in HEADERS.items():
        assert answer.headers[name.lower()] == value
    for secret in ("aiohttp", "Python"):
        assert secret not in f"{answer.headers} {answer.body}"


SERVED = {
    "a cookie of 8191 bytes": request(headers=b"Cookie: " + b"a" * 8191 + b"\r\n"),
    "a cookie of 60 000 bytes": request(headers=b"Cookie: " + b"a" * 60_000 + b"\r\n"),
    "a host that is none": request(host=b"Host: [\r\n"),
    "a host not in ASCII": request(host=b"Host: \xc3\xb1\xff\r\n"),
    "an absolute address": request(b"GET http://127.0.0.1/ HTTP/1.1"),
    "an old version": request(b"GET / HTTP/1.0"),
    "an offer of HTTP/2": request(headers=b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"),
    "tags that are none": request(headers=b'If-None-Match: "\xff, nonsense, W/"\r\n'),
    "an encoding not in ASCII": request(headers=b"Accept-Encoding: \xff\r\n"),
    "an empty line first": b"\r\n" + request(),
}

REFUSED = {
    "a cookie of 70 000 bytes": (431, request(headers=b"Cookie: " + b"a" * 70_000 + b"\r\n")),
    "a cookie of a million bytes": (431, request(headers=b"Cookie: " + b"a" * 1_000_000 + b"\r\n")),
    "many headers": (431, request(headers=b"A: a\r\n" * 1000)),
    "many long headers": (431, request(headers=(b"A: " + b"a" * 50_000 + b"\r\n") * 20)),
    "a header with a long name": (431, request(headers=b"A" * 70_000 + b": a\r\n")),
    "a long path": (414, request(b"GET /" + b"a" * 10_000 + b" HTTP/1.1")),
    "a very long path": (414, request(b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1")),
    "no host": (400, request(host=b"")),
    "two hosts": (400, request(headers=b"Host: b\r\n")),
    "a header without a colon": (400, request(headers=b"nonsense\r\n")),
    "a header with NUL": (400, request(headers=b"A: a\x00b\r\n")),
    "lines that end with LF alone": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "an absolute address that is none": (400, request(b"GET http://[/ HTTP/1.1")),
    "a port that is none": (400, request(b"GET http://a:99999/ HTTP/1.1")),
    "a path that does not begin with a slash": (400, request(b"GET foo HTTP/1.1")),
    "a path not in ASCII": (400, request(b"GET /\xff HTTP/1.1")),
    "a query not in ASCII": (400, request(b"GET /ws?name=\xf1 HTTP/1.1", HANDSHAKE)),
    "a path that is no percent-encoding": (404, request(b"GET /%zz HTTP/1.1")),
    "a percent-encoded path that is no UTF-8": (404, request(b"GET /%ff HTTP/1.1")),
    "a percent-encoded NUL": (404, request(b"GET /%00 HTTP/1.1")),
    "a way up": (404, request(b"GET /..%2f..%2fsettings.py HTTP/1.1")),
    "a path that looks like a host": (404, request(b"GET //[ HTTP/1.1")),
    "a tunnel": (404, request(b"CONNECT a:443 HTTP/1.1")),
    "a tunnel to nowhere": (400, b"CONNECT \r\na:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "PUT": (405, request(b"PUT / HTTP/1.1", b"Content-Length: 3\r\n") + b"abc"),
    "POST": (405, request(b"POST / HTTP/1.1", b"Content-Length: 0\r\n")),
    "POST to the WebSocket": (405, request(b"POST /ws HTTP/1.1", HANDSHAKE)),
    "HEAD of the WebSocket": (405, request(b"HEAD /ws HTTP/1.1", HANDSHAKE)),
    "OPTIONS": (405, request(b"OPTIONS / HTTP/1.1")),
    "a body that is no gzip": (
        405,
        request(b"POST / HTTP/1.1", b"Content-Length: 3\r\nContent-Encoding: gzip\r\n") + b"abc",
    ),
    "chunks that are none": (400, request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked\r\n") + b"zz\r\n"),
    "two lengths": (400, request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n")),
    "a negative length": (400, request(b"POST / HTTP/1.1", b"Content-Length: -3\r\n")),
    "an unknown method": (400, request(b"BREW / HTTP/1.1")),
    "an unknown expectation": (417, request(headers=b"Expect: nonsense\r\n")),
    "an expectation that is no UTF-8": (400, request(headers=b"Expect: \xff\r\n")),
    "HTTP/2 in the first line": (505, request(b"GET / HTTP/2.0")),
    "HTTP/2": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
    "TLS": (400, bytes.fromhex("1603010200010001fc0303")),
    "NUL": (400, b"\x00" * 10),
    "JSON": (400, b'{"operacion":"join","msg":"ana"}\n'),
    "SSH": (400, b"SSH-2.0-OpenSSH_9.6\r\n"),
}

HANDSHAKES = {
    "of no WebSocket": (426, b""),
    "of HTTP/2": (426, b"Upgrade: h2c\r\nConnection: Upgrade\r\n"),
    "of something not in ASCII": (426, b"Upgrade: \xff\r\nConnection: Upgrade\r\n"),
    "without Connection": (400, b"Upgrade: websocket\r\n" + VERSION + KEY),
    "without a version": (400, UPGRADE + KEY),
    "of another version": (426, UPGRADE + KEY + b"Sec-WebSocket-Version: 12\r\n"),
    "of a version not in ASCII": (426, UPGRADE + KEY + b"Sec-WebSocket-Version: \xff\r\n"),
    "without a key": (400, UPGRADE + VERSION),
    "with a short key": (400, UPGRADE + VERSION + b"Sec-WebSocket-Key: aaaa\r\n"),
    "with a key that is no base64": (400, UPGRADE + VERSION + b"Sec-WebSocket-Key: !!!!\r\n"),
    "with a key not in ASCII": (400, UPGRADE + VERSION + "Sec-WebSocket-Key: ñ\r\n".encode()),
    "with a key that is no UTF-8": (400, UPGRADE + VERSION + b"Sec-WebSocket-Key: \xf1\r\n"),
    "from an origin that is none": (403, HANDSHAKE + b"Origin: http://[\r\n"),
    "from an origin not in ASCII": (403, HANDSHAKE + "Origin: http://ñ\r\n".encode()),
    "from an origin that is no UTF-8": (403, HANDSHAKE + b"Origin: http://\xf1\r\n"),
    "from a port that is none": (403, HANDSHAKE + b"Origin: http://127.0.0.1:99999\r\n"),
    "from a port that is no number": (403, HANDSHAKE + b"Origin: http://127.0.0.1:x\r\n"),
    "from a long origin": (403, HANDSHAKE + b"Origin: http://" + b"a" * 20_000 + b"\r\n"),
}


@pytest.mark.parametrize("data", SERVED.values(), ids=SERVED)
async def test_what_is_odd_and_harmless_is_served(doors: LocalDoor, data: bytes) -> None:
    """What other programs on this machine put into a request, cookies above all, is no reason to refuse it."""
    answer = await answer_to(doors, data)
    assert answer.status == 200
    check(answer)


@pytest.mark.parametrize(("status", "data"), REFUSED.values(), ids=REFUSED)
async def test_what_is_no_request_of_ours_is_told_so(
    doors: LocalDoor, caplog: pytest.LogCaptureFixture, status: int, data: bytes
) -> None:
    """With a status of its own, our headers, no word of any library, and a line in the log for who looks."""
    with caplog.at_level(logging.DEBUG, "bcast_grpc"):
        answer = await answer_to(doors, data)
    assert answer.status == status
    check(answer)
    records = [record for record in caplog.records if record.name.startswith("bcast_grpc.transport")]
    (record,) = (record for record in records if f"answered {status} to" in record.getMessage())
    assert record.levelno == logging.DEBUG
    assert record.exc_info is None
    assert record.getMessage().isprintable()
    assert len(record.getMessage()) < 300


@pytest.mark.parametrize(("status", "headers"), HANDSHAKES.values(), ids=HANDSHAKES)
async def test_a_handshake_that_does_not_fit(doors: LocalDoor, status: int, headers: bytes) -> None:
    """The answer says which header it is, and nobody was ever in the room."""
    answer = await answer_to(doors, request(b"GET /ws HTTP/1.1", headers))
    assert answer.status == status
    check(answer)
    assert answer.body
    assert len(answer.body) < 300
    if "version" in answer.body.lower() and status == 426:
        assert answer.headers["sec-websocket-version"] == "13"
    assert not doors.server.hub.clients


async def test_a_handshake_with_a_host_not_in_ascii(doors: LocalDoor) -> None:
    """It is not our own page that asks."""
    answer = await answer_to(
        doors, request(b"GET /ws HTTP/1.1", HANDSHAKE + b"Origin: http://a\r\n", host=b"Host: \xff\r\n")
    )
    assert answer.status == 403
    check(answer)


async def test_a_handshake_that_asks_for_more_is_taken(doors: LocalDoor, caplog: pytest.LogCaptureFixture) -> None:
    """A protocol on top, an absolute address: what does not matter is not even a warning."""
    for line, more in (
        (b"GET /ws HTTP/1.1", b"Sec-WebSocket-Protocol: a, b\r\n"),
        (b"GET http://127.0.0.1/ws HTTP/1.1", b""),
    ):
        answer = await answer_to(doors, request(line, HANDSHAKE + more))
        assert answer.status == 101
        assert "sec-websocket-protocol" not in answer.headers
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_half_a_request(serve: Serve) -> None:
    """A client that does not finish it gets an error and is disconnected; one that leaves in its middle is no error."""
    doors = await serve(http_port=0, handshake_timeout_s=0.3)
    for data in (b"GET / HT", b"GET / HTTP/1.1\r\nHos", b"GET /\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", doors.server.http_port)
        writer.write(data)
        answers = await within(reader.read())
        assert answers.count(b"HTTP/1.1 408 ") == 1
        writer.close()
        _, leaver = await asyncio.open_connection("127.0.0.1", doors.server.http_port)
        leaver.write(data)
        leaver.close()


async def test_who_connects_and_says_nothing_is_disconnected(serve: Serve, authority: Authority) -> None:
    """Without a word: a browser connects in advance. With TLS too, and after the handshake."""
    doors = await serve(http_port=0, handshake_timeout_s=0.1)
    signed = authority.sign("server").settings
    secure = await serve(http_port=0, handshake_timeout_s=2, **signed)  # a busy machine needs a while for a handshake
    secure.trust(authority)
    for door in (doors, secure):
        reader, writer = await asyncio.open_connection("127.0.0.1", door.server.http_port, ssl=door.tls)
        assert await within(reader.read()) == b""
        writer.close()


async def test_who_asks_no_more_is_disconnected(doors: LocalDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A while after the last answer."""
    monkeypatch.setattr(http_requests, "_IDLE_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.server.http_port)
    for _ in range(2):
        writer.write(request(b"GET /healthz HTTP/1.1"))
        await within(reader.readuntil(b"alive\n"))
    assert await within(reader.read()) == b""
    writer.close()


async def test_requests_in_pieces(doors: LocalDoor) -> None:
    """However they are cut, and one after the other on the same connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.server.http_port)
    for _ in range(3):
        for byte in request(b"GET /healthz HTTP/1.1"):
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        head = await within(reader.readuntil(b"\r\n\r\n"))
        assert head.startswith(b"HTTP/1.1 200 ")
        await within(reader.readuntil(b"alive\n"))
    writer.close()


async def test_requests_that_do_not_wait_for_answers(doors: LocalDoor) -> None:
    """All are answered, in order, however many there are; a WebSocket's frames may come right behind."""
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.server.http_port)
    asked = b'{"msg":"hola","id":"a"}'
    frame = bytes((0x81, 0x80 | len(asked), 0, 0, 0, 0)) + asked
    pair = request(b"GET /healthz HTTP/1.1") + request(b"GET /nothing HTTP/1.1")
    writer.write(pair * 1000 + request(b"GET /ws HTTP/1.1", HANDSHAKE) + frame)
    answers = b""
    while b'"a"' not in answers:
        answers += await within(reader.read(65_536))
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"404"] * 1000 + [b"101"]
    writer.close()


async def test_a_body_is_no_head(doors: LocalDoor) -> None:
    """What comes with a request that nobody reads is dropped, and the next request answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.server.http_port)
    writer.write(request(b"POST / HTTP/1.1", b"Content-Length: 1000000\r\n"))
    assert (await within(reader.readuntil(b"\r\n\r\n"))).startswith(b"HTTP/1.1 405 ")
    await within(reader.readuntil(b"Not Allowed"))
    for _ in range(10):
        writer.write(bytes(100_000))
        await within(writer.drain())
    writer.write(request(b"GET /healthz HTTP/1.1"))
    await within(reader.readuntil(b"alive\n"))
    writer.close()


async def test_who_pings_and_vanishes(doors: LocalDoor) -> None:
    """It cannot be answered any more, and that is no fault: the fixture finds no error in the log."""
    ping = bytes([0x89, 0x80, 0, 0, 0, 0])
    bob = await doors.browse()
    for count in (1, 100, 1000):
        for end in ("close", "abort"):
            ana = await doors.browse(f"?name=ana{count}{end}")
            ana.socket.transport.write(ping * count)
            getattr(ana.socket.transport, end)()
            await bob.hear_until(f"ana{count}{end} left")
    await eventually(lambda: doors.server.hub.clients == 1)


async def test_who_vanishes_in_the_handshake(doors: LocalDoor) -> None:
    """It was never in, and that is no fault: the fixture finds no error in the log."""
    for query in (b"", b"?name=%zz", b"?name=ana"):
        for _ in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", doors.server.http_port)
            writer.write(request(b"GET /ws" + query + b" HTTP/1.1", HANDSHAKE))
            writer.transport.abort()
    assert (await answer_to(doors, request(b"GET /healthz HTTP/1.1"))).status == 200
    await eventually(lambda: not doors.server.hub.clients)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("chat.example.org:443", "https://chat.example.org"),
        ("chat.example.org", "https://chat.example.org"),
        ("Chat.Example.org", "https://chat.example.org"),
        ("chat.example.org:80", "http://chat.example.org"),
        ("chat.example.org:8443", "https://chat.example.org:8443"),
        ("[0::1]:8080", "http://[::1]:8080"),
    ],
)
async def test_our_own_page_behind_a_proxy(serve: Serve, host: str, origin: str) -> None:
    """Whether the proxy names the default port or not, as long as it passes on which host was meant."""
    doors = await serve(host="0.0.0.0", http_port=0, open=True)
    headers = HANDSHAKE + f"Origin: {origin}\r\n".encode()
    answer = await answer_to(doors, request(b"GET /ws HTTP/1.1", headers, host=f"Host: {host}\r\n".encode()))
    assert answer.status == 101
    other = await answer_to(doors, request(b"GET /ws HTTP/1.1", headers, host=b"Host: other.example:443\r\n"))
    assert other.status == 403


async def test_pages_are_named_as_people_write_them(serve: Serve) -> None:
    """Browsers send small letters, no default port and ASCII; apps have schemes of their own."""
    allowed = "https://Chat.Example.org, https://b.example:443, https://bücher.example, capacitor://localhost"
    doors = await serve(http_port=0, http_allow_origin=allowed)
    for origin in (
        "https://chat.example.org",
        "https://b.example",
        "https://xn--bcher-kva.example",
        "capacitor://localhost",
    ):
        await doors.browse(origin=origin)
    for origin in ("http://chat.example.org", "https://b.example:444", "ionic://localhost", "null", "file://"):
        with pytest.raises(InvalidStatus) as caught:
            await doors.browse(origin=origin)
        assert caught.value.response.status_code == 403


async def test_an_app_is_not_our_page(doors: LocalDoor) -> None:
    """Though its host may have the same name."""
    with pytest.raises(InvalidStatus):
        await doors.browse(origin=f"app://127.0.0.1:{doors.server.http_port}")
