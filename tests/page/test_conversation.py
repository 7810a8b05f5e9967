"""People in browsers and at a terminal talk to each other."""

from __future__ import annotations

import asyncio
import re
import signal

import pytest
from playwright.async_api import WebSocketRoute, expect

from tests.integration.peers import Door

from .conftest import OpenTerminal, Serve, Visit
from .person import Person
from .server import PageServer

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_two_browsers_and_a_terminal_in_one_room(
    visit: Visit, server: PageServer, open_terminal: OpenTerminal, room: str
) -> None:
    """All see who comes and goes, who is there, and the same lines in the same order."""
    ana, bob = await visit(server.url), await visit(server.url)
    await ana.enter(room, "ana")
    await bob.enter(room, "bob")
    eva = await open_terminal(server.grpc, "--room", room, "--name", "eva")
    await ana.sees_notice("joined", "bob joined")
    for person in (ana, bob):
        await person.sees_notice("joined", "eva joined")
        await expect(person.people).to_have_text([re.compile(name) for name in ("ana", "bob", "eva")])

    async def talk(person: Person, *texts: str) -> None:
        for text in texts:
            await person.say(text)

    eva.type("".join(f"e{n}\r" for n in range(10)))
    await asyncio.gather(talk(ana, *(f"a{n}" for n in range(10))), talk(bob, *(f"b{n}" for n in range(10))))
    everything = [f"{who}{n}" for who in "abe" for n in range(10)]
    for person in (ana, bob):
        await person.sees(*everything)
        await person.has_said_all()
    order = await ana.said()
    assert order == await bob.said()
    assert sorted(order) == [({"a": "ana", "b": "bob", "e": "eva"}[text[0]], text) for text in everything]

    from_others = [text for author, text in order if author != "eva"]
    await eva.until(lambda lines: from_others == re.findall(r"(?:ana|bob) │ (.*)", "\n".join(lines)))
    eva.type("/who\r")
    await eva.until_shows("3 here", "* ana  since", "* bob  since")

    await bob.page.close()
    await ana.sees_notice("left", "bob left")
    await eva.until_shows("bob left")
    eva.type("/quit\r")
    await eva.exit()
    await ana.sees_notice("left", "eva left")
    await expect(ana.people).to_have_text([re.compile("ana")])


async def test_the_form_leads_into_a_room_whose_address_is_a_link(visit: Visit, server: PageServer, room: str) -> None:
    """Who has been there goes in at once the next time; whoever gets the link says their name first."""
    ana, bob = await visit(server.url), await visit(server.url)
    await ana.page.goto(server.url)
    await ana.is_in("form")
    await ana.name_box.fill("ana maría")
    await ana.room_box.fill(room)
    await ana.join.click()
    await ana.is_in("online")
    await expect(ana.status).to_contain_text("Connected")
    await expect(ana.page).to_have_title(re.compile(re.escape(room)))
    link = ana.page.url

    await bob.page.goto(link)
    await bob.is_in("form")
    await expect(bob.room_box).to_have_value(room)
    await bob.name_box.fill("bob")
    await bob.name_box.press("Enter")
    await bob.is_in("online")
    await ana.sees_notice("joined", "bob joined")

    again = Person(await ana.page.context.new_page(), server.url)
    await again.page.goto(link)
    await again.is_in("online")
    await again.say("from my other tab")
    await bob.sees("from my other tab")
    assert await bob.said() == [("ana maría", "from my other tab")]


async def test_name_and_room_can_be_changed(visit: Visit, server: PageServer, room: str) -> None:
    """One leaves, and what one was called and where one was stands in the form."""
    ana, bob = await visit(server.url), await visit(server.url)
    await bob.enter(room, "bob")
    await ana.enter(room, "ana")
    await ana.page.get_by_role("button", name="Change name or room").click()
    await ana.is_in("form")
    await bob.sees_notice("left", "ana left")
    await expect(ana.name_box).to_have_value("ana")
    await expect(ana.room_box).to_have_value(room)
    await ana.name_box.fill("eva")
    await ana.join.click()
    await bob.sees_notice("joined", "eva joined")
    await ana.say("hola")
    await bob.sees("hola")
    assert await bob.said() == [("eva", "hola")]


async def test_enter_sends_and_shift_enter_breaks_the_line(visit: Visit, server: PageServer, room: str) -> None:
    """Blanks alone are no message; while an input method composes, Enter is its own."""
    ana, bob = await visit(server.url), await visit(server.url)
    await ana.enter(room, "ana")
    await bob.enter(room, "bob")
    await ana.box.press("Enter")
    await ana.say("  \n ")
    await ana.box.fill("")
    await ana.box.press_sequentially("one")
    await ana.box.press("Shift+Enter")
    await ana.box.press_sequentially("  two")
    await ana.box.press("Enter")
    await expect(ana.box).to_have_value("")
    keyboard = await ana.page.context.new_cdp_session(ana.page)
    await keyboard.send("Input.imeSetComposition", {"text": "にほん", "selectionStart": 3, "selectionEnd": 3})
    enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 229}
    await keyboard.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", **enter})
    await keyboard.send("Input.insertText", {"text": "日本"})
    await keyboard.send("Input.dispatchKeyEvent", {"type": "keyUp", **enter})
    await expect(ana.box).to_have_value("日本")
    await ana.box.press_sequentially("!")
    await ana.send.click()
    await bob.sees("日本!")
    assert await bob.texts() == ["one\n  two", "日本!"]
    await expect(bob.messages.first.locator(".text")).to_have_css(
        "white-space-collapse", re.compile("preserve|break-spaces")
    )


async def test_a_newcomer_sees_what_was_said_before(visit: Visit, server: PageServer, door: Door, room: str) -> None:
    """In the room's order, with the times when it was said."""
    for n in range(20):
        await door.publish(f"{n}", name="peer", room=room)
    ana = await visit(server.url)
    await ana.enter(room, "ana")
    await ana.sees("19")
    assert await ana.texts() == [f"{n}" for n in range(20)]
    places = await ana.messages.evaluate_all("lines => lines.map(line => Number(line.dataset.seq))")
    assert places == list(range(1, 21))
    times = await ana.messages.locator("time").evaluate_all("times => times.map(time => Date.parse(time.dateTime))")
    assert times == sorted(times)
    assert len(times) == 20


async def test_a_reload_changes_nothing(visit: Visit, server: PageServer, room: str) -> None:
    """Name, room and lines are the same ones, and to the others one is the same."""
    ana, bob = await visit(server.url), await visit(server.url)
    await ana.enter(room, "ana")
    await bob.enter(room, "bob")
    await ana.say("one")
    await bob.sees("one")
    await bob.say("two")
    await ana.sees("two")
    own = await ana.line("one").get_attribute("class")
    await ana.page.goto(f"{server.url}/?room={room}")
    await ana.is_in("online")
    await ana.page.reload()
    await ana.is_in("online")
    await ana.sees("one", "two")
    assert await ana.line("one").get_attribute("class") == own != await ana.line("two").get_attribute("class")
    await ana.say("three")
    await bob.sees("three")
    await bob.say("four")
    for person in (ana, bob):
        await person.sees("four")
    order = [("ana", "one"), ("bob", "two"), ("ana", "three"), ("bob", "four")]
    assert await ana.said() == await bob.said() == order


async def test_what_was_not_acknowledged_survives_a_reload(visit: Visit, serve: Serve, room: str) -> None:
    """It is sent again, and arrives once, whether the server had it already or not."""
    server = await serve()
    ana, bob = await visit(server.url), await visit(server.url)
    await ana.enter(room, "ana")
    await bob.enter(room, "bob")
    server.signal(signal.SIGSTOP)
    await ana.say("one")
    await ana.say("two")
    await expect(ana.undelivered).to_have_text([re.compile("one"), re.compile("two")])
    await ana.page.evaluate("void setTimeout(() => location.reload())")
    server.signal(signal.SIGCONT)
    await ana.is_in("online")
    for person in (bob, ana):
        await person.sees("one", "two")
    await ana.has_said_all()
    await ana.say("three")
    await bob.sees("three")
    assert await bob.texts() == await ana.texts() == ["one", "two", "three"]


async def test_what_was_not_sent_survives_a_reload(visit: Visit, server: PageServer, room: str) -> None:
    """As a line that says so, and it is sent when there is a connection again."""
    ana, bob = await visit(server.url), await visit(server.url)
    await bob.enter(room, "bob")
    reachable = False

    async def route(socket: WebSocketRoute) -> None:
        if reachable:
            socket.connect_to_server()
        else:
            await socket.close(code=1001)

    await ana.page.route_web_socket(re.compile("/ws"), route)
    await ana.open(room, "ana")
    await ana.is_in("offline")
    await ana.say("one")
    await ana.say("two\nlines")
    await ana.page.reload()
    await ana.is_in("offline")
    await expect(ana.undelivered).to_have_text([re.compile("one"), re.compile("two\\s+lines")])
    await expect(ana.undelivered.first).to_have_attribute("data-state", "unsent")
    reachable = True
    await ana.is_in("online")
    await bob.sees("one", "two\nlines")
    await ana.has_said_all()
    assert await bob.texts() == await ana.texts() == ["one", "two\nlines"]


async def test_who_does_not_look_is_told_how_much_is_unread(visit: Visit, server: PageServer, room: str) -> None:
    """In the title, as long as the tab is hidden."""
    ana, bob = await visit(server.url), await visit(server.url)
    await ana.enter(room, "ana")
    await bob.enter(room, "bob")
    await ana.look_away()
    for text in "123":
        await bob.say(text)
    await expect(ana.page).to_have_title(f"(3) {room} · bcast")
    await ana.look_back()
    await expect(ana.page).to_have_title(f"{room} · bcast")


async def test_who_reads_above_is_not_moved(visit: Visit, server: PageServer, door: Door, room: str) -> None:
    """What comes meanwhile is counted on a button that leads to the end."""
    ana = await visit(server.url, viewport={"width": 1000, "height": 600})
    await ana.enter(room, "ana")
    for n in range(100):
        await door.publish(f"{n}", name="peer", room=room)
    await expect(ana.line("99")).to_be_in_viewport()
    await ana.line("99").hover()
    await ana.page.mouse.wheel(0, -600)
    await expect(ana.line("99")).not_to_be_in_viewport()
    top = await ana.log.evaluate(_FIRST_IN_SIGHT)
    for n in range(100, 103):
        await door.publish(f"{n}", name="peer", room=room)
    button = ana.page.get_by_role("button", name=re.compile("New messages"))
    await expect(button).to_contain_text("3")
    assert await ana.log.evaluate(_FIRST_IN_SIGHT) == top
    await button.click()
    await expect(ana.line("102")).to_be_in_viewport()
    await expect(button).to_be_hidden()
    await door.publish("103", name="peer", room=room)
    await expect(ana.line("103")).to_be_in_viewport()


_FIRST_IN_SIGHT = """log => {
    const top = log.getBoundingClientRect().top;
    return [...log.querySelectorAll("[data-seq]")].find(line => line.getBoundingClientRect().top >= top).dataset.seq;
}"""
