"""Keys from a URL that answers late, wrongly, or not at all."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from bcast_grpc.auth import jwks
from bcast_grpc.auth.jwks import Fetched, RemoteKeys
from tests import tokens
from tests.integration.peers import eventually


class Issuer:
    """What answers instead of the network, and the time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.fetched = 0
        self.answering = asyncio.Event()
        self.answering.set()
        self.answer: Fetched | Exception = Fetched(tokens.jwks(tokens.rsa_key()), "")
        self.keys = RemoteKeys("https://id.example/jwks", lambda: self.now, self._fetch)

    async def _fetch(self, _: str) -> Fetched:
        self.fetched += 1
        await self.answering.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("cache_control", "kept_s"),
    [
        ("", 3600),
        ("max-age=100", 100),
        ("public, max-age=90000", 3600),
        ("no-store", 10),
        ("max-age=0", 10),
        ("x", 3600),
    ],
)
async def test_keys_are_kept_as_long_as_their_issuer_says(cache_control: str, kept_s: float) -> None:
    """At most an hour, and at least until the next attempt may be made."""
    issuer = Issuer()
    issuer.answer = Fetched(tokens.jwks(tokens.rsa_key()), cache_control)
    for passed_s, fetched in ((0, 1), (kept_s - 0.1, 1), (0.2, 2)):
        issuer.now += passed_s
        assert len(await issuer.keys.keys()) == 1
        assert issuer.fetched == fetched


async def test_many_who_ask_wait_for_one_answer() -> None:
    """And an unknown ``kid`` is looked up every ten seconds at the most."""
    issuer = Issuer()
    found = await asyncio.gather(*(issuer.keys.keys() for _ in range(100)))
    assert {len(keys) for keys in found} == {1}
    await issuer.keys.refetch()
    assert issuer.fetched == 1
    issuer.now += 10
    await asyncio.gather(*(issuer.keys.refetch() for _ in range(100)))
    assert issuer.fetched == 2


@pytest.mark.parametrize(
    "answer", [OSError("refused"), TimeoutError(), Fetched(b"<html>", ""), Fetched(b"{}", "")], ids=repr
)
async def test_the_last_good_keys_stay_in_force(answer: Fetched | Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Where there never were any, there are none; the log says why."""
    issuer = Issuer()
    good, issuer.answer = issuer.answer, answer
    assert await issuer.keys.keys() == ()
    issuer.answer = good
    issuer.now += 10
    assert len(await issuer.keys.keys()) == 1
    issuer.answer = answer
    issuer.now += 4000
    assert len(await issuer.keys.keys()) == 1
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "there are no keys yet" in said[0]
    assert "the last 1 keys stay in force" in said[1]


async def test_nobody_waits_for_a_server_that_does_not_answer() -> None:
    """Once that is known, who can be verified with the last good keys is; each attempt may take ten seconds."""
    issuer = Issuer()
    assert len(await issuer.keys.keys()) == 1
    issuer.now += 4000
    issuer.answer = TimeoutError()
    assert len(await issuer.keys.keys()) == 1
    issuer.now += 10
    issuer.answering.clear()
    assert len(await issuer.keys.keys()) == 1
    await eventually(lambda: issuer.fetched == 3)
    issuer.now += 10
    issuer.answer = Fetched(tokens.jwks(tokens.rsa_key(), tokens.ec_key()), "")
    issuer.answering.set()
    assert len(await issuer.keys.keys()) == 1
    await issuer.keys.refetch()
    assert len(await issuer.keys.keys()) == 2
    assert issuer.fetched == 3


async def test_keys_from_a_file_do_without_a_server_that_never_answered() -> None:
    """Once it is known that it does not answer."""
    issuer = Issuer()
    issuer.answer = TimeoutError()
    assert await issuer.keys.keys(others=True) == ()
    issuer.now += 10
    issuer.answering.clear()
    assert await issuer.keys.keys(others=True) == ()
    await eventually(lambda: issuer.fetched == 2)
    await issuer.keys.close()


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[Answer], Awaitable[str]]]:
    """Starts a server for https, whose authority ``SSL_CERT_FILE`` names."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    runners: list[web.AppRunner] = []

    async def start(answer: Answer) -> str:
        app = web.Application()
        app.router.add_get("/{rest:.*}", answer)
        runner = web.AppRunner(app, shutdown_timeout=0)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "localhost", 0, ssl_context=context)
        await site.start()
        return f"https://localhost:{runner.addresses[0][1]}/jwks"

    yield start
    for runner in runners:
        await runner.cleanup()


async def test_a_url_is_fetched(serve: Callable[[Answer], Awaitable[str]]) -> None:
    """Over TLS, with what it says about keeping it."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=tokens.jwks(tokens.rsa_key()), headers={"Cache-Control": "max-age=5"})

    fetched = await jwks.fetch_url(await serve(answer))
    assert fetched == Fetched(tokens.jwks(tokens.rsa_key()), "max-age=5")


async def test_what_is_packed_is_not_unpacked(serve: Callable[[Answer], Awaitable[str]]) -> None:
    """Nobody asked for that, and a kilobyte may become a megabyte."""
    packed = gzip.compress(bytes(100 * jwks.MAX_BYTES))

    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    fetched = await jwks.fetch_url(await serve(answer))
    assert fetched.body == packed


async def test_what_is_no_good_answer_is_an_error(
    serve: Callable[[Answer], Awaitable[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another status, a redirect, too much, too late, nobody there, and nobody who is trusted."""
    over = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        match request.query_string:
            case "moved":
                raise web.HTTPFound("/jwks")
            case "large":
                return web.Response(body=bytes(jwks.MAX_BYTES + 1))
            case "late":
                await over.wait()
        return web.Response(status=500)

    url = await serve(answer)
    for query, says in [("", "HTTP status 500"), ("?moved", "HTTP status 302"), ("?large", "larger than")]:
        with pytest.raises(OSError, match=says):
            await jwks.fetch_url(url + query)
    with monkeypatch.context() as hasty:
        hasty.setattr(jwks, "TIMEOUT_S", 0.3)
        with pytest.raises((TimeoutError, OSError)):
            await jwks.fetch_url(url + "?late")
    over.set()
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(OSError, match="certificate"):
        await jwks.fetch_url(url)
