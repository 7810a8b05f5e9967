"""The page over TLS: by https, and its WebSocket by wss."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Error, expect

from tests import tokens
from tests.authority import Authority, shared_ca
from tests.integration.peers import eventually

from .conftest import Serve, Visit
from .test_tokens import present, renew_by

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_tokens_over_tls(visit: Visit, serve: Serve, tmp_path: Path) -> None:
    """One types a token, and another's site renews it; they talk, and each has one WebSocket, by wss."""
    files = Authority(tmp_path, shared_ca()).sign("server")
    keys = ("--token-keys", str(tokens.key_file(tmp_path)), "--token-audience", tokens.AUDIENCE)
    server = await serve(*files.flags, *keys)
    assert server.url.startswith("https://")
    ana = await visit(server.url, ignore_https_errors=True)
    bob = await visit(server.url, ignore_https_errors=True)
    await ana.open("dev", "ana")
    await expect(ana.page.get_by_role("alert")).to_have_text("token: this server requires a token")
    await present(ana, tokens.token())
    await ana.is_in("online")
    asked = await renew_by(bob, tokens.token(subject="bob", expires_s=10), tokens.token(subject="bob"))
    await bob.enter("dev", "bob")
    await eventually(lambda: len(asked) == 2)
    await ana.say("hola")
    await bob.sees("hola")
    await bob.say("hello")
    await ana.sees("hello")
    assert bob.sockets == 1
    assert {urlsplit(address).scheme for address in (*ana.addresses, *bob.addresses)} == {"wss"}


async def test_a_server_that_is_not_trusted_is_not_shown(visit: Visit, serve: Serve, tmp_path: Path) -> None:
    """The browser itself refuses it."""
    server = await serve(*Authority(tmp_path, shared_ca()).sign("server").flags)
    ana = await visit(server.url)
    with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
        await ana.page.goto(server.url)
