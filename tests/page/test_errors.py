"""What the server refuses is told to the person, and what helps against it is done or offered."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from playwright.async_api import expect

from tests.integration.peers import Door

from .conftest import LayCable, Serve, Visit
from .person import Person
from .server import PageServer

pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest.mark.parametrize("name", ["x" * 65, "a\tb"])
async def test_a_name_that_does_not_fit(visit: Visit, server: PageServer, room: str, name: str) -> None:
    """One is back at the form, with the reason; nothing is tried again by itself."""
    ana = await visit(server.url)
    await ana.open(room, name)
    await ana.is_in("form")
    await expect(ana.page.get_by_role("alert")).to_contain_text("name")
    await ana.name_box.fill("ana")
    await ana.join.click()
    await ana.is_in("online")
    await expect(ana.status).to_contain_text("Connected")
    assert ana.sockets <= 2


async def test_a_client_that_is_replaced(visit: Visit, server: PageServer, door: Door, room: str) -> None:
    """It says that it has ended, and does not push the other one out in its turn, unless the person says so."""
    ana, bob = await visit(server.url), await visit(server.url)
    await ana.page.clock.install()
    await ana.enter(room, "ana")
    await bob.enter(room, "bob")
    other = await door.connect("ana", room=room, client=ana.client)
    await ana.is_in("ended")
    await expect(ana.status).to_contain_text(re.compile("replaced|elsewhere|another", re.IGNORECASE))
    await ana.page.clock.fast_forward("10:00")
    await ana.wake()
    await other.say("it is me")
    await bob.sees("it is me")
    await ana.is_in("ended")
    assert ana.sockets == 1
    await ana.page.get_by_role("button", name="Reconnect", exact=True).click()
    await ana.is_in("online")
    assert (await other.end()).reason == "REPLACED"
    await ana.sees("it is me")
    await ana.say("and again")
    await bob.sees("and again")
    await expect(bob.people).to_have_count(2)


async def test_a_tab_that_is_duplicated_is_a_client_of_its_own(visit: Visit, server: PageServer, room: str) -> None:
    """Though it gets a copy of all that the first one has kept, neither pushes the other one out."""
    ana, bob = await visit(server.url), await visit(server.url)
    await ana.enter(room, "ana")
    await bob.enter(room, "bob")
    async with ana.page.expect_popup() as popup:
        await ana.page.evaluate("void window.open(location.href)")
    copy = Person(await popup.value, server.url)
    await copy.is_in("online")
    await ana.say("from the first")
    await copy.say("from the copy")
    for person in (ana, copy, bob):
        await person.sees("from the first", "from the copy")
        await person.is_in("online")
    assert ana.sockets == 1


async def test_who_is_too_slow_comes_back(visit: Visit, serve: Serve, lay_cable: LayCable, room: str) -> None:
    """What was missed is read from the history."""
    server = await serve("--max-message-bytes", "4000", "--queue-bytes", "20000")
    cable = await lay_cable(server)
    ana = await visit(f"http://{cable.address}")
    await ana.enter(room, "ana")
    cable.stall()
    door = Door(server.grpc)
    peer = await door.connect("peer", room=room)
    count, evicted = 0, False
    while not evicted:  # when the buffers on the way are full, the server's queue grows, and then it is at its end
        count += 1
        await peer.say(f"{count} {'x' * 3000}", id=f"{count}")
        evicted = (await peer.answer(f"{count}")).ack.queued == 0
    await peer.say("the last one")
    cable.mend()
    await ana.sees("the last one")
    await ana.is_in("online")
    await door.close()
    assert ana.was_told("SLOW_CONSUMER")
    places = await ana.messages.evaluate_all("lines => lines.map(line => Number(line.dataset.seq))")
    assert all(after - before == 1 for before, after in pairwise(places))
    assert places[-1] == count + 1
    await expect(ana.notes).to_have_count(0)


async def test_what_is_too_large_stays_until_it_is_discarded(visit: Visit, serve: Serve, room: str) -> None:
    """With the reason; what is written after it goes on."""
    server = await serve("--max-message-bytes", "1000")
    ana, bob = await visit(server.url), await visit(server.url)
    await ana.enter(room, "ana")
    await bob.enter(room, "bob")
    await ana.say("x" * 1500)
    await ana.say("hola")
    await bob.sees("hola")
    await expect(ana.undelivered).to_have_count(1)
    await expect(ana.undelivered).to_have_attribute("data-state", "refused")
    await expect(ana.undelivered).to_contain_text(re.compile("large|1000"))
    await expect(ana.undelivered.get_by_role("button", name="Retry")).to_be_visible()
    await ana.page.reload()
    await ana.is_in("online")
    await ana.sees("hola")
    await expect(ana.undelivered).to_have_attribute("data-state", "refused")
    await ana.undelivered.get_by_role("button", name="Discard").click()
    await ana.has_said_all()
    assert await bob.texts() == await ana.texts() == ["hola"]


async def test_what_comes_too_fast_is_sent_again(visit: Visit, serve: Serve, room: str) -> None:
    """As soon as the server takes it, in the order in which it was written."""
    server = await serve("--rate", "20", "--burst", "2")
    ana, bob = await visit(server.url), await visit(server.url)
    await ana.enter(room, "ana")
    await bob.enter(room, "bob")
    await ana.page.context.set_offline(True)  # so that all go out at once, however slowly this machine types
    for n in range(8):
        await ana.say(f"{n}")
    await expect(ana.undelivered).to_have_count(8)
    await ana.page.context.set_offline(False)
    await bob.sees("7")
    await bob.sees(*(f"{n}" for n in range(8)))
    await ana.has_said_all()
    assert ana.was_told("RATE_LIMITED")
    assert await ana.texts() == await bob.texts()
    assert sorted(await bob.texts()) == [f"{n}" for n in range(8)]


async def test_a_place_that_the_server_does_not_know(
    visit: Visit, serve: Serve, lay_cable: LayCable, room: str
) -> None:
    """An old copy of a store, say: the page tells that the order began anew, and shows all that is kept."""
    server = await serve()
    cable = await lay_cable(server)
    ana, bob = await visit(f"http://{cable.address}"), await visit(server.url)
    await bob.enter(room, "bob")
    await ana.page.add_init_script(_AFTER_BEYOND_THE_HEAD)
    await ana.enter(room, "ana")
    await bob.say("hola")
    await ana.sees("hola")
    await ana.page.evaluate("window.goBeyond()")
    cable.cut()
    await ana.sees_notice("gap", "started over")
    await ana.is_in("online")
    await expect(ana.line("hola")).to_have_count(2)
    await bob.say("qué tal")
    await ana.sees("qué tal")
    await ana.say("bien")
    await bob.sees("bien")
    await ana.has_said_all()
    assert await ana.texts() == ["hola", "hola", "qué tal", "bien"]


# The page's WebSocket, which asks once for what comes after a place that does not exist.
_AFTER_BEYOND_THE_HEAD = """{
    const Original = WebSocket;
    let beyond = false;
    window.WebSocket = class extends Original {
        constructor(url, ...more) {
            super(beyond ? url.toString().replace(/(after=[^&]*(?::|%3A))\\d+/, "$19999") : url, ...more);
            beyond = false;
            window.goBeyond = () => { beyond = true; };
        }
    };
}"""
