"""Whatever people write is text."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.integration.peers import Door

from .conftest import Visit
from .server import PageServer

pytestmark = pytest.mark.asyncio(loop_scope="package")

NASTY = [
    "<img src=x onerror=\"window.ran = 'img'\">",
    "<script>window.ran = 'script'</script>",
    "<svg/onload=window.ran='svg'>",
    "</li></ol><iframe srcdoc=\"<script>parent.ran = 'frame'</script>\"></iframe>",
    "<a href=\"javascript:window.ran='link'\">javascript:window.ran='bare'</a>",
    "<link rel=stylesheet href=//example.org/x.css><meta http-equiv=refresh content=0;//example.org>",
    "<form action=//example.org><button>Join</button></form>",
    "https://example.org/picture.png",
    "{{constructor.constructor('window.ran = 1')()}} ${window.ran = 1} #{window.ran = 1} <%= 1 %>",
    "&lt;b&gt; &amp; &#x3c;b&#x3e; &nbsp;",
    "'\"`--></style></title></textarea><b>bold",
    '{"kind":"EVENT_KIND_CLOSING","closing":{}}',
    "__proto__",
]
"""Texts that would do something, were they more than texts."""

CONTROLS = "a\x00b\x07c\x1b[31md\x7fe\x85f"
BIDI = "abc\u202edef\u2066ghi\u2069\u200bjkl\ufeff"


async def test_markup_is_text(visit: Visit, server: PageServer, room: str) -> None:
    """In messages of others and one's own, as they were written; nothing runs, nothing is asked of other hosts."""
    ana, bob = await visit(server.url), await visit(server.url)
    await ana.enter(room, "ana")
    await bob.enter(room, "bob")
    for text in NASTY:
        await ana.say(text)
    for person in (bob, ana):
        await person.sees(NASTY[-1])
        assert await person.texts() == NASTY
        assert await person.page.evaluate("window.ran") is None
        assert await person.page.evaluate(_FOREIGN) == []
    await bob.page.reload()
    await bob.sees(NASTY[-1])
    assert await bob.texts() == NASTY
    assert await bob.page.evaluate("window.ran") is None


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=window.ran=1>", "</li><script>window.ran=1</script>", "__proto__"]
)
async def test_markup_in_a_name_is_text(visit: Visit, server: PageServer, room: str, name: str) -> None:
    """In notices, in the list of people, and beside messages."""
    ana, bob = await visit(server.url), await visit(server.url)
    await bob.enter(room, "bob")
    await ana.enter(room, name)
    await ana.say("hola")
    await bob.sees("hola")
    await bob.sees_notice("joined", f"{name} joined")
    assert await bob.said() == [(name, "hola")]
    await expect(bob.people.filter(has_text=name)).to_have_count(1)
    await ana.page.close()
    await bob.sees_notice("left", f"{name} left")
    assert await bob.page.evaluate("window.ran") is None
    assert await bob.page.evaluate(_FOREIGN) == []


async def test_markup_in_a_room_is_text(visit: Visit, server: PageServer) -> None:
    """In the address, the title and the heading."""
    room = "<img src=x onerror=window.ran=1> & \"'?#%2F/ ñ"
    ana, bob = await visit(server.url), await visit(server.url)
    await ana.enter(room, "ana")
    await bob.page.goto(ana.page.url)
    await expect(bob.room_box).to_have_value(room)
    await bob.name_box.fill("bob")
    await bob.join.click()
    await ana.sees_notice("joined", "bob joined")
    await expect(bob.page).to_have_title(re.compile(re.escape(room)))
    assert await bob.page.evaluate("window.ran") is None
    assert await bob.page.evaluate(_FOREIGN) == []


async def test_bidi_and_control_characters_stay_in_their_line(
    visit: Visit, server: PageServer, door: Door, room: str
) -> None:
    """No text turns round what stands beside it, and every line is isolated from the next."""
    await door.publish(f"{BIDI}{CONTROLS}", name="eva \u05d0\u05d1\u05d2 \u0645\u061c1", room=room)
    await door.publish("abc", name="bob", room=room)
    ana = await visit(server.url)
    await ana.enter(room, "ana")
    await ana.sees("abc")
    assert len(await ana.said()) == 2
    for part in (".author", ".text"):
        assert await ana.messages.first.locator(part).evaluate(_IS_ISOLATED)
    assert await ana.page.evaluate("window.ran") is None


# Addresses in a text are links, which one may follow.
_FOREIGN = """() => [...document.querySelectorAll("script, img, iframe, style, link, a, form, b, meta, object")]
    .filter(element => !element.matches("a[href^='http'][rel='noopener noreferrer'][target=_blank]"))
    .flatMap(element => ["src", "href", "action", "srcdoc", "onerror", "content"].map(key => element.getAttribute(key)))
    .filter(value => value && /^(javascript|https?:|[/]{2}|x$)|[.]ran|example/.test(value))"""

_IS_ISOLATED = """element => element.tagName === "BDI" || element.dir === "auto"
    || /isolate|plaintext/.test(getComputedStyle(element).unicodeBidi)"""
