"""Servers end, cables break, people walk into tunnels: nothing is lost, nothing comes twice, and one is told."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest
from playwright.async_api import expect

from .conftest import LayCable, Serve, Visit
from .person import Person
from .server import PageServer

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def see_no_connection(*people: Person) -> None:
    """Wait until they are told that there is none."""
    for person in people:
        await person.is_in("offline")
        await expect(person.status).to_contain_text("No connection")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_server_that_keeps_what_was_said(
    visit: Visit, serve: Serve, room: str, tmp_path: Path, how: signal.Signals
) -> None:
    """It starts again, and all goes on by itself; what was written meanwhile waited, and said that it does."""
    server = await serve("--store", f"sqlite:{tmp_path / 'store'}")
    ana, bob = await visit(server.url), await visit(server.url)
    await ana.enter(room, "ana")
    await bob.enter(room, "bob")
    await ana.say("before")
    await bob.sees("before")
    await server.end(how)
    await see_no_connection(ana, bob)
    await ana.say("meanwhile 1")
    await ana.say("meanwhile 2")
    await bob.say("meanwhile 3")
    await expect(ana.undelivered).to_have_text([re.compile("meanwhile 1"), re.compile("meanwhile 2")])
    for person in (ana, bob):
        for item in await person.undelivered.all():
            await expect(item).to_have_attribute("data-state", "unsent")
    await server.start()
    for person in (ana, bob):
        await person.is_in("online")
        await person.sees("meanwhile 1", "meanwhile 2", "meanwhile 3")
        await person.has_said_all()
    await bob.say("after")
    await ana.sees("after")
    texts = await ana.texts()
    assert texts == await bob.texts()
    assert [texts[0], texts[-1]] == ["before", "after"]
    assert [text for text in texts if text[-1] in "12"] == ["meanwhile 1", "meanwhile 2"]
    assert len(texts) == 5
    await expect(ana.people).to_have_count(2)


async def test_a_server_that_forgets(visit: Visit, serve: Serve, room: str) -> None:
    """The order begins anew: a line tells, and what comes then is seen, though its numbers are lower."""
    server = await serve()
    ana, bob = await visit(server.url), await visit(server.url)
    await ana.enter(room, "ana")
    await bob.enter(room, "bob")
    for n in range(5):
        await ana.say(f"before {n}")
    await bob.sees("before 4")
    await ana.has_said_all()
    await server.end()
    await see_no_connection(ana, bob)
    await ana.say("meanwhile")
    await server.start()
    for person in (ana, bob):
        await person.is_in("online")
        await person.sees("meanwhile")
        await expect(person.notes).not_to_have_count(0)
        await person.has_said_all()
    await bob.say("after")
    await ana.sees("after")
    assert (await ana.texts())[-2:] == (await bob.texts())[-2:] == ["meanwhile", "after"]
    await ana.page.reload()
    await ana.sees("meanwhile", "after")
    assert await ana.texts() == ["meanwhile", "after"]


async def test_cables_that_break(visit: Visit, server: PageServer, lay_cable: LayCable, room: str) -> None:
    """Again and again, while people talk."""
    cables = [await lay_cable(server), await lay_cable(server)]
    ana, bob = [await visit(f"http://{cable.address}") for cable in cables]
    await ana.enter(room, "ana")
    await bob.enter(room, "bob")
    for n in range(12):
        await ana.say(f"a{n}")
        if n % 3 == 0:
            cables[n % 2].cut()
        await bob.say(f"b{n}")
    for person in (ana, bob):
        await person.sees(*(f"{who}{n}" for who in "ab" for n in range(12)))
        await person.has_said_all()
    order = await ana.texts()
    assert order == await bob.texts()
    for who in "ab":
        assert [text for text in order if text[0] == who] == [f"{who}{n}" for n in range(12)]


async def test_a_connection_that_died_in_silence(
    visit: Visit, server: PageServer, lay_cable: LayCable, room: str
) -> None:
    """A page that wakes up asks whether anybody is there, and connects anew where nobody answers."""
    cable = await lay_cable(server)
    ana, bob = await visit(f"http://{cable.address}"), await visit(server.url)
    await ana.page.clock.install()
    await ana.enter(room, "ana")
    await bob.enter(room, "bob")
    cable.stall()
    await bob.say("into the void")
    await ana.say("and back")
    await expect(ana.undelivered).to_have_attribute("data-state", "sent")
    await ana.wake()
    await ana.page.clock.fast_forward("00:30")
    await expect(ana.page.locator("body")).not_to_have_attribute("data-state", "online")
    await expect(ana.undelivered).to_have_attribute("data-state", "unsent")
    cable.mend()
    await ana.is_in("online")
    for person in (ana, bob):
        await person.sees("into the void", "and back")
        await person.has_said_all()
    assert await ana.texts() == await bob.texts()


async def test_a_connection_that_is_only_slow_is_kept(
    visit: Visit, server: PageServer, lay_cable: LayCable, room: str
) -> None:
    """Where the answer comes after all, nothing happens."""
    cable = await lay_cable(server)
    ana, bob = await visit(f"http://{cable.address}"), await visit(server.url)
    await ana.enter(room, "ana")
    await bob.enter(room, "bob")
    cable.stall()
    await ana.wake()
    await ana.say("one")
    await expect(ana.undelivered).to_have_attribute("data-state", "sent")
    cable.mend()
    await ana.has_said_all()
    await bob.sees("one")
    assert ana.sockets == 1
    assert await ana.texts() == await bob.texts() == ["one"]


async def test_a_tunnel(visit: Visit, server: PageServer, room: str) -> None:
    """The browser itself says that it has no network, and then that it has one again."""
    ana, bob = await visit(server.url), await visit(server.url)
    await ana.enter(room, "ana")
    await bob.enter(room, "bob")
    await bob.say("before")
    await ana.sees("before")
    for round_ in "12":
        await ana.page.context.set_offline(True)
        await ana.say(f"in the tunnel {round_}")
        await bob.say(f"meanwhile {round_}")
        await expect(ana.undelivered).to_have_count(1)
        await bob.sees(f"meanwhile {round_}")
        await ana.page.context.set_offline(False)
        await ana.sees(f"meanwhile {round_}", f"in the tunnel {round_}")
        await bob.sees(f"in the tunnel {round_}")
        await ana.has_said_all()
        await ana.is_in("online")
    assert await ana.texts() == await bob.texts()
    assert len(await ana.texts()) == 5


async def test_the_wait_can_be_cut_short(visit: Visit, serve: Serve, room: str) -> None:
    """After long in vain the next try is far away; a button does it now."""
    server = await serve()
    ana = await visit(server.url)
    await ana.page.clock.install()
    await ana.enter(room, "ana")
    await server.end()
    await see_no_connection(ana)
    await ana.page.clock.pause_at(time.time() + 60)  # from here on no timer of the page's does anything
    await server.start()
    reconnect = ana.page.get_by_role("button", name="Reconnect", exact=True)
    await reconnect.click()
    await ana.is_in("online")
    await expect(reconnect).to_be_hidden()
