"""What the HTTP door answers to browsers and load balancers: origins, health, the files of the page."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from websockets.exceptions import InvalidStatus

from .conftest import LocalDoor, Serve
from .peers import within


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:1", "http://localhost.evil.example"]
)
async def test_pages_of_others_may_not_connect(doors: LocalDoor, origin: str) -> None:
    """A page that somebody happens to look at must not read what is said here."""
    with pytest.raises(InvalidStatus) as caught:
        await doors.browse(origin=origin)
    assert caught.value.response.status_code == 403
    assert "--http-allow-origin" in caught.value.response.body.decode()
    assert not doors.server.hub.clients


@pytest.mark.parametrize("name", ["Host", "Origin", "Upgrade", "Sec-WebSocket-Version", "Sec-WebSocket-Key"])
async def test_what_decides_about_a_handshake_is_given_once(doors: LocalDoor, name: str) -> None:
    """A proxy may look at the first of two headers and a server at the second."""
    port = doors.server.http_port
    headers = {
        "Host": f"127.0.0.1:{port}",
        "Origin": doors.http,
        "Upgrade": "websocket",
        "Connection": "keep-alive",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    lines = [*headers.items(), ("Connection", "Upgrade")]
    for more, status in (([], b"101"), ([(name, headers[name])], b"400"), ([(name, "evil")], b"400")):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=doors.tls)
        text = "".join(f"{key}: {value}\r\n" for key, value in [*lines, *more])
        writer.write(f"GET /ws HTTP/1.1\r\n{text}\r\n".encode())
        answer = await within(reader.readuntil(b"\r\n\r\n"))
        assert answer.split()[1] == status
        writer.close()


async def test_our_own_page_may_connect(doors: LocalDoor) -> None:
    """And programs, which have no origin."""
    await doors.browse(origin=doors.http)
    await doors.browse(origin=f"https://127.0.0.1:{doors.server.http_port}")  # TLS that ended before us
    await doors.browse()


async def test_a_foreign_name_for_this_machine_is_not_our_page(doors: LocalDoor, http: aiohttp.ClientSession) -> None:
    """A page of evil.example whose name was made to lead here (DNS rebinding) has the right host, and is foreign."""
    host = f"evil.example:{doors.server.http_port}"
    headers = {"Upgrade": "websocket", "Connection": "upgrade", "Host": host, "Origin": f"http://{host}"}
    async with http.get(f"{doors.http}/ws", headers=headers) as response:
        assert response.status == 403


@pytest.mark.parametrize("allowed", [["https://a.example", "http://b.example:8080"], ["*"]])
async def test_pages_that_are_named_may_connect(serve: Serve, allowed: list[str]) -> None:
    """``--http-allow-origin`` names them, or all."""
    doors = await serve(http_port=0, http_allow_origin=allowed)
    await doors.browse(origin="https://a.example")
    await doors.browse(origin="http://b.example:8080")
    if allowed != ["*"]:
        with pytest.raises(InvalidStatus):
            await doors.browse(origin="http://a.example")


async def test_health(doors: LocalDoor, http: aiohttp.ClientSession) -> None:
    """Alive as long as it answers; ready until it drains."""
    async with http.get(f"{doors.http}/healthz") as response:
        assert (response.status, await response.text()) == (200, "alive\n")
    async with http.get(f"{doors.http}/readyz") as response:
        assert (response.status, await response.text()) == (200, "ready\n")
    ana = await doors.browse()
    ana.socket.transport.pause_reading()  # it does not answer the goodbye, so the end takes its time
    doors.server.hub.close("going", lambda: 1.0, lambda: None)
    async with http.get(f"{doors.http}/readyz") as response:
        assert (response.status, await response.text()) == (503, "going\n")
    async with http.get(f"{doors.http}/healthz") as response:
        assert response.status == 200
    ana.socket.transport.abort()


async def test_every_answer_is_guarded(doors: LocalDoor, http: aiohttp.ClientSession) -> None:
    """A strict policy on every path, the refused ones included: nothing inline, no other host, no frame around it."""
    for path in ("/", "/healthz", "/ws", "/nope", "/../settings.py"):
        async with http.get(f"{doors.http}{path}") as response:
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert "Python" not in response.headers["Server"]


async def test_what_is_not_there(doors: LocalDoor, http: aiohttp.ClientSession) -> None:
    """Each with the status that HTTP has for it."""
    for method, path, status in [("GET", "/nope", 404), ("POST", "/", 405), ("GET", "/ws", 426), ("HEAD", "/", 200)]:
        async with http.request(method, f"{doors.http}{path}") as response:
            assert response.status == status


async def test_the_page_is_asked_for_once(doors: LocalDoor, http: aiohttp.ClientSession) -> None:
    """A browser asks whether it has changed, and gets 304."""
    async with http.get(f"{doors.http}/") as response:
        assert response.status == 200
        tag = response.headers["ETag"]
        assert response.headers["Cache-Control"] == "no-cache"
    for known, status in [(tag, 304), (f'"other", {tag}', 304), ('"other"', 200)]:
        async with http.get(f"{doors.http}/", headers={"If-None-Match": known}) as response:
            assert response.status == status
            assert response.headers["ETag"] == tag


async def test_the_page_is_compressed_for_those_who_can(doors: LocalDoor, http: aiohttp.ClientSession) -> None:
    """The same page either way."""
    texts = []
    for takes, gives in [("gzip, br", "gzip"), ("identity", None)]:
        async with http.get(f"{doors.http}/", headers={"Accept-Encoding": takes}) as response:
            assert response.headers.get("Content-Encoding") == gives
            texts.append(await response.text())
    assert texts[0] == texts[1]
