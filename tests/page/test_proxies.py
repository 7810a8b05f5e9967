"""Between browser and server there are proxies: below a path, with closes and answers of their own."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from playwright.async_api import expect

from .conftest import LayProxy, Visit
from .person import Person
from .proxy import PATH
from .server import PageServer

pytestmark = pytest.mark.asyncio(loop_scope="package")

# All but the last are codes of WebSockets' own; 1006: no code at all. Codes from 4000 on are ours only with our words.
CODES = [1000, 1001, 1006, 1008, 1011, 1012, 1013, 1014, 3000, 4000, 4001, 4005, 4006, 4012, 4015, 4499, 4999]


def event(kind: str, **fields: Any) -> str:
    """An event as the server sends it."""
    return json.dumps([{"message": "", "kind": f"EVENT_KIND_{kind}", **fields}])


async def try_again(person: Person, sockets: int) -> None:
    """Wait until there were so many connections, without the usual pauses."""
    while person.sockets < sockets:
        await person.wake()
        await asyncio.sleep(0.05)  # the page says nothing when it tries


async def come_back(person: Person, sockets: int) -> None:
    """Wait until somebody whose connection ended is back with another one.

    The page decides when it needs one more: it may come back with any that it has begun.
    """
    await try_again(person, sockets)
    while await person.page.locator("body").get_attribute("data-state") != "online":
        await person.wake()
        await asyncio.sleep(0.05)  # there is no event to wait for


async def test_below_a_path(visit: Visit, server: PageServer, lay_proxy: LayProxy, room: str) -> None:
    """All that belongs to the page is found there, and what it keeps is kept apart from that of other paths."""
    proxy = await lay_proxy(server)
    ana, bob = await visit(proxy.url), await visit(server.url)
    await ana.page.goto(f"{proxy.url}/")
    await ana.name_box.fill("ana")
    await ana.room_box.fill(room)
    await ana.join.click()
    await ana.is_in("online")
    await bob.enter(room, "bob")
    await ana.say("hola")
    await bob.say("¿qué tal?")
    for person in (ana, bob):
        await person.sees("hola", "¿qué tal?")
    await expect(ana.page).to_have_url(re.compile(f"{PATH}/\\?room="))
    await ana.page.reload()
    await ana.is_in("online")
    await ana.sees("hola", "¿qué tal?")
    keys = await ana.page.evaluate("[...Object.keys(localStorage), ...Object.keys(sessionStorage)]")
    assert keys
    assert all(f"{PATH}/" in key for key in keys)


async def test_every_close_but_ours_is_come_back_from(
    visit: Visit, server: PageServer, lay_proxy: LayProxy, room: str
) -> None:
    """Whatever code it has: final is what the server itself says is final, in an event."""
    proxy = await lay_proxy(server)
    ana, bob = await visit(proxy.url), await visit(server.url)
    await ana.enter(room, "ana")
    await bob.enter(room, "bob")
    for count, code in enumerate(CODES, 1):
        await proxy.close(code)
        await bob.say(f"after {code}")
        await come_back(ana, count + 1)
        await ana.sees(f"after {code}")
    assert await ana.texts() == await bob.texts() == [f"after {code}" for code in CODES]


async def test_an_error_in_passing_is_not_the_end(
    visit: Visit, server: PageServer, lay_proxy: LayProxy, room: str
) -> None:
    """Only the last word counts, and only with the code that belongs to it."""
    proxy = await lay_proxy(server)
    ana = await visit(proxy.url)
    await ana.enter(room, "ana")
    error = event("ERROR", error={"code": "ERROR_CODE_INTERNAL", "reason": "a fault"})
    await proxy.say(error)
    await proxy.close(1011)
    await come_back(ana, 2)
    await proxy.say(error)
    await proxy.say(event("PROGRESS"))
    await proxy.close(4015)
    await come_back(ana, 3)
    await proxy.say(error)
    await proxy.close(4015)
    await ana.is_in("ended")
    await expect(ana.status).to_contain_text("a fault")


@pytest.mark.parametrize("status", [401, 404, 502])
async def test_whatever_a_proxy_answers_is_come_back_from(
    visit: Visit, server: PageServer, lay_proxy: LayProxy, room: str, status: int
) -> None:
    """While the server starts again, say."""
    proxy = await lay_proxy(server)
    ana = await visit(proxy.url)
    await ana.enter(room, "ana")
    proxy.answers = status
    await proxy.close(1001)
    await try_again(ana, 3)
    await ana.is_in("offline")
    await expect(ana.status).to_contain_text("No connection")
    await ana.say("meanwhile")
    proxy.answers = None
    await come_back(ana, 4)
    await ana.sees("meanwhile")
    await ana.has_said_all()


UNREADABLE: tuple[str | bytes, ...] = ("", "{", "<html>", "null", "[null]", "3", '["a"]', b"\x00\xff")


async def test_a_frame_that_cannot_be_read(visit: Visit, server: PageServer, lay_proxy: LayProxy, room: str) -> None:
    """The stream is broken, and another one is begun; nothing is lost, and nothing of the page breaks."""
    proxy = await lay_proxy(server)
    ana, bob = await visit(proxy.url), await visit(server.url)
    ana.listens = False
    await ana.enter(room, "ana")
    await bob.enter(room, "bob")
    await bob.say("before")
    await ana.sees("before")
    for number, frame in enumerate(UNREADABLE, 1):
        sockets = ana.sockets
        await proxy.say(frame)
        await come_back(ana, sockets + 1)
        await bob.say(f"after {frame!r}")
        await ana.sees("before", *(f"after {frame!r}" for frame in UNREADABLE[:number]))


async def test_what_is_not_known_is_ignored(visit: Visit, server: PageServer, lay_proxy: LayProxy, room: str) -> None:
    """A newer server may tell more."""
    proxy = await lay_proxy(server)
    ana = await visit(proxy.url)
    await ana.enter(room, "ana")
    for frame in ("[]", event("EXPIRING"), json.dumps({"kind": 77}), json.dumps({"kind": "toString"})):
        await proxy.say(frame)
    await ana.say("hola")
    await ana.sees("hola")
    assert ana.sockets == 1


async def test_an_order_that_began_anew_in_the_same_epoch(
    visit: Visit, server: PageServer, lay_proxy: LayProxy, room: str
) -> None:
    """An old copy of a store was put back, say: what comes then is shown, though its numbers are lower."""
    proxy = await lay_proxy(server)
    ana = await visit(proxy.url)
    await ana.enter(room, "ana")
    for n in range(3):
        await ana.say(f"before {n}")
    await ana.has_said_all()
    await proxy.say(event("GAP", gap={"reason": "GAP_REASON_NEW_EPOCH"}))
    for seq in (1, 2):
        await proxy.say(event("MESSAGE", message=f"bob: again {seq}", sender="bob", session="b", seq=f"{seq}"))
    await ana.sees("again 1", "again 2")
    await ana.sees_notice("gap", "started over")


async def test_a_list_of_people_in_parts(visit: Visit, server: PageServer, lay_proxy: LayProxy, room: str) -> None:
    """It is shown once it is whole, and the next one replaces it."""
    proxy = await lay_proxy(server)
    ana = await visit(proxy.url)
    await ana.enter(room, "ana")
    await expect(ana.people).to_have_count(1)
    for names, more in ((["bob", "eva"], True), (["joe"], True), (["zoe", ""], False)):
        await expect(ana.people).to_have_count(1)
        members = {"members": [{"session": f"s-{name}", "name": name} for name in names], "more": more}
        await proxy.say(event("MEMBERS", id="who", members=members))
    await expect(ana.people).to_have_text(["bob", "eva", "joe", "zoe"])
    await expect(ana.page.locator("#people-more")).to_have_text("and 1 without a name")
    await proxy.say(event("MEMBERS", id="who", members={"members": [{"session": "s-joe", "name": "joe"}]}))
    await expect(ana.people).to_have_text(["joe"])
    assert ana.sockets == 1
