"""A server that wants to know who one is: the page asks for a token, renews it, and says what one may not do."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import expect

from tests import tokens
from tests.integration.peers import Door, eventually

from .conftest import Serve, Visit
from .person import Person
from .server import PageServer

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def guarded(serve: Serve, folder: Path) -> PageServer:
    """A server that takes tokens."""
    return await serve("--token-keys", str(tokens.key_file(folder)), "--token-audience", tokens.AUDIENCE)


async def present(person: Person, token: str) -> None:
    """Type a token into the form that asks for one."""
    await expect(person.token_box).to_be_focused()
    await person.token_box.fill(token)
    await person.join.click()


async def renew_by(person: Person, *given: str) -> list[str]:
    """Be a site that has tokens: one for each call, and the last again and again.

    Returns:
        Those that the page has asked for so far.
    """
    asked: list[str] = []

    def ask() -> str:
        asked.append(given[min(len(asked), len(given) - 1)])
        return asked[-1]

    await person.page.expose_function("nextToken", ask)
    await person.page.add_init_script("globalThis.bcast = {token: () => nextToken()};")
    return asked


async def test_a_token_is_asked_for_where_one_is_required(visit: Visit, serve: Serve, tmp_path: Path) -> None:
    """At once, and again where it is refused; it is in no address, no storage and no field afterwards."""
    server = await guarded(serve, tmp_path)
    ana = await visit(server.url)
    await ana.page.goto(server.url)
    await expect(ana.token_box).to_have_count(0)
    await ana.open("dev", "ana")
    await ana.is_in("form")
    await expect(ana.page.get_by_role("alert")).to_have_text("token: this server requires a token")
    await expect(ana.token_box).to_have_attribute("type", "password")
    await present(ana, tokens.token(tokens.rsa_key(1)))
    await expect(ana.page.get_by_role("alert")).to_have_text("token: the server does not accept this token")
    await present(ana, good := tokens.token())
    await ana.is_in("online")
    await ana.say("hola")
    await ana.has_said_all()
    kept = await ana.page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, location.href, token.value])"
    )
    assert good[-20:] not in kept
    assert good[:20] not in kept
    assert not [url for url in ana.addresses if "token" in url or good[-20:] in url]


async def test_a_typed_token_that_expires_is_asked_for_again(visit: Visit, serve: Serve, tmp_path: Path) -> None:
    """With a warning before; what was missed is read afterwards."""
    server = await guarded(serve, tmp_path)
    ana = await visit(server.url)
    await ana.open("dev", "ana")
    await present(ana, tokens.token(expires_s=2))
    await ana.is_in("online")
    await ana.sees_notice("note", "you are asked for a new one")
    await expect(ana.page.get_by_role("alert")).to_have_text("token: your token has expired")
    door = Door(server.grpc)
    await door.publish("hola", name="bob", room="dev", pairs=[("authorization", f"Bearer {tokens.token()}")])
    await door.close()
    await present(ana, tokens.token())
    await ana.sees("hola")


async def test_a_site_renews_the_token_by_a_function(visit: Visit, serve: Serve, tmp_path: Path) -> None:
    """On the same connection, without a word."""
    server = await guarded(serve, tmp_path)
    ana = await visit(server.url)
    asked = await renew_by(ana, tokens.token(expires_s=10), tokens.token(expires_s=10), tokens.token())
    await ana.enter("dev", "ana")
    await eventually(lambda: len(asked) == 3)
    await ana.say("hola")
    await ana.has_said_all()
    assert ana.sockets == 1
    await expect(ana.notes).to_have_count(0)


async def test_a_function_that_is_late_is_asked_again(visit: Visit, serve: Serve, tmp_path: Path) -> None:
    """When the token has expired the page reconnects; where all are refused it says so, and waits for a person."""
    server = await guarded(serve, tmp_path)
    ana, bob = await visit(server.url), await visit(server.url)
    first = tokens.token(expires_s=2)
    asked = await renew_by(ana, first, first, tokens.token())
    await ana.enter("dev", "ana")
    await eventually(lambda: len(asked) == 3)
    await ana.is_in("online")
    await renew_by(bob, tokens.token(tokens.rsa_key(1)))
    await bob.open("dev", "bob")
    await bob.is_in("ended")
    await expect(bob.status).to_have_text("Ended: the server does not accept this token")


async def test_what_one_may_not_do_is_said_in_plain_words(visit: Visit, serve: Serve, tmp_path: Path) -> None:
    """Without history, without the list of people, without sending; and rooms that one may not join."""
    server = await guarded(serve, tmp_path)
    ana, bob = await visit(server.url), await visit(server.url)
    await renew_by(bob, tokens.token(subject="bob"))
    await bob.enter("dev", "bob")
    await bob.say("before")
    await bob.has_said_all()
    await renew_by(ana, tokens.token(rooms={"dev": ["join"]}, name="Ana"))
    await ana.open("dev", "eva")
    await expect(ana.page.get_by_role("alert")).to_contain_text("your token gives you the name 'Ana'")
    await ana.name_box.fill("Ana")
    await ana.join.click()
    await ana.is_in("online")
    await bob.say("after")
    await ana.sees("after")
    assert await ana.texts() == ["after"]
    await ana.say("hola")
    await expect(ana.undelivered).to_contain_text("you are not allowed to send in this room")
    await expect(ana.page.get_by_text("You are not allowed to see who is here.")).to_be_visible()
    await ana.open("other", "Ana")
    await ana.is_in("form")
    await expect(ana.page.get_by_role("alert")).to_have_text("room: you are not allowed to join this room")
