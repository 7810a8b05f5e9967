"""The page for those who use a keyboard, a screen reader, a phone, or the dark."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from playwright.async_api import Page, ViewportSize, expect

from tests.integration.peers import Door

from .conftest import Visit
from .person import Person
from .server import PageServer

pytestmark = pytest.mark.asyncio(loop_scope="package")

PHONE = {
    "viewport": {"width": 360, "height": 640},
    "is_mobile": True,
    "has_touch": True,
    "device_scale_factor": 2,
    "reduced_motion": "reduce",  # what slides in is too wide for a moment
}
DESK: ViewportSize = {"width": 1000, "height": 600}
LONG = "https://" + "averylongwordwithoutanyblank" * 20


async def test_all_can_be_done_with_the_keyboard(visit: Visit, server: PageServer, door: Door, room: str) -> None:
    """From the form to the message, the log and back; the focus is where one goes on, and can be seen."""
    for n in range(100):
        await door.publish(f"{n}", name="peer", room=room)
    ana = await visit(server.url, viewport=DESK)
    await ana.page.goto(server.url)
    await expect(ana.name_box).to_be_focused()
    keys = ana.page.keyboard
    await keys.type("ana")
    await keys.press("Tab")
    await expect(ana.room_box).to_be_focused()
    await keys.press("ControlOrMeta+a")
    await keys.type(room)
    await keys.press("Enter")
    await ana.is_in("online")
    await expect(ana.box).to_be_focused()
    await keys.type("hola")
    await keys.press("Enter")
    await ana.sees("hola")
    await expect(ana.box).to_be_focused()
    await expect(ana.line("hola")).to_be_in_viewport()
    await tab_to(ana, "log", backwards=True)
    await keys.press("Home")
    await expect(ana.line("hola")).not_to_be_in_viewport()
    await keys.press("End")
    await expect(ana.line("hola")).to_be_in_viewport()
    await tab_to(ana, "button Change name or room", backwards=True)
    await keys.press("Enter")
    await ana.is_in("form")
    await expect(ana.name_box).to_be_focused()


async def tab_to(person: Person, what: str, *, backwards: bool = False) -> None:
    """Press Tab until the focus is there; wherever it is meanwhile, it can be seen."""
    been = []
    for _ in range(20):
        await person.page.keyboard.press("Shift+Tab" if backwards else "Tab")
        been.append(await person.page.evaluate(_FOCUSED))
        if been[-1]["what"].startswith(what):
            break
    assert been[-1]["what"].startswith(what), been
    assert all(place["seen"] for place in been), been


async def test_everything_has_a_name(visit: Visit, server: PageServer, room: str) -> None:
    """Each thing that can be used says what it is, and the page says its language, its title and its parts."""
    ana, bob = await visit(server.url), await visit(server.url)
    await ana.page.goto(server.url)
    await ana.is_in("form")
    await expect(ana.page.get_by_role("main")).to_match_aria_snapshot(
        """
        - textbox "Name"
        - textbox "Room"
        - button "Join"
        """
    )
    assert await nameless(ana.page) == []
    await ana.enter(room, "ana")
    await bob.enter(room, "bob")
    await bob.say("hola")
    await ana.sees("hola")
    await expect(ana.page.locator("body")).to_match_aria_snapshot(
        """
        - log "Messages"
        """
    )
    await expect(ana.people).to_have_count(2)
    assert await nameless(ana.page) == []
    assert await ana.page.locator("html").get_attribute("lang")
    await expect(ana.page.get_by_role("heading", level=1)).to_have_count(1)
    await expect(ana.page.get_by_role("main")).to_have_count(1)
    await expect(ana.status).to_have_count(1)
    assert await ana.page.evaluate("[...document.querySelectorAll('[id]')].length") == await ana.page.evaluate(
        "new Set([...document.querySelectorAll('[id]')].map(element => element.id)).size"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_light_and_dark(visit: Visit, server: PageServer, room: str, scheme: Literal["light", "dark"]) -> None:
    """Each follows what the system asks for, and all text stands out from what is behind it (WCAG AA)."""
    ana, bob = await visit(server.url, color_scheme=scheme), await visit(server.url)
    await ana.page.goto(server.url)
    await ana.is_in("form")
    assert await ana.page.evaluate(_PALE) == []
    await ana.enter(room, "ana")
    await bob.enter(room, "bob")
    await ana.say("hola")
    await bob.say("¿qué tal?")
    await ana.sees("hola", "¿qué tal?")
    assert await ana.page.evaluate(_PALE) == []
    background = await ana.page.evaluate(_BRIGHTNESS)
    assert background > 0.5 if scheme == "light" else background < 0.2


async def test_a_phone(visit: Visit, server: PageServer, room: str) -> None:
    """Nothing is wider than the screen; the list of people is behind a button."""
    ana, bob = await visit(server.url, **PHONE), await visit(server.url)
    await ana.page.goto(server.url)
    await ana.is_in("form")
    assert await ana.page.evaluate(_IS_TOO_WIDE) == []
    await ana.enter(room, "ana")
    await bob.enter(room, "bob" * 20)
    await bob.say(LONG)
    await ana.sees(LONG)
    await ana.say(f"{LONG}!")
    await bob.sees(f"{LONG}!")
    assert await ana.page.evaluate(_IS_TOO_WIDE) == []
    await expect(ana.people).to_have_count(0)
    button = ana.page.get_by_role("button", name="People")
    await expect(button).to_have_attribute("aria-expanded", "false")
    await button.tap()
    await expect(ana.people).to_have_count(2)
    await expect(ana.people.first).to_be_in_viewport()
    assert await ana.page.evaluate(_IS_TOO_WIDE) == []
    await expect(ana.box).to_be_in_viewport()
    assert await ana.send.evaluate("button => Math.min(button.offsetWidth, button.offsetHeight)") >= 24


async def nameless(page: Page) -> list[Any]:
    """What can be used, or is a part of the page, and has no accessible name."""
    browser = await page.context.new_cdp_session(page)
    tree = await browser.send("Accessibility.getFullAXTree")
    await browser.detach()
    return [
        node
        for node in tree["nodes"]
        if not node["ignored"]
        and node.get("role", {}).get("value") in {"button", "textbox", "link", "list", "log", "image", "complementary"}
        and not node.get("name", {}).get("value")
    ]


_FOCUSED = """() => {
    const element = document.activeElement;
    const style = getComputedStyle(element);
    const box = element.getBoundingClientRect();
    const role = element.getAttribute("role") ?? element.tagName.toLowerCase();
    const seen = box.width > 0 && box.height > 0 && element.matches(":focus-visible")
        && (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0 || style.boxShadow !== "none");
    return {what: `${role} ${element.getAttribute("aria-label") ?? element.textContent.trim()}`, seen};
}"""

# Colours are painted, since they can be written in many ways.
_CONTRAST = """
    const paint = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const over = (colour, under) => {
        paint.fillStyle = `rgb(${under.map(part => part * 255).join(" ")})`;
        paint.fillRect(0, 0, 1, 1);
        paint.fillStyle = colour;
        paint.fillRect(0, 0, 1, 1);
        return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3).map(part => part / 255);
    };
    const root = document.createElement("i");
    root.style.backgroundColor = "Canvas";
    const canvas = getComputedStyle(document.head.appendChild(root)).backgroundColor;
    root.remove();
    const behind = element => element === null
        ? over(canvas, [1, 1, 1])
        : over(getComputedStyle(element).backgroundColor, behind(element.parentElement));
    const brightness = colour => colour
        .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
"""

_BRIGHTNESS = f"""() => {{
    {_CONTRAST}
    return brightness(behind(document.body));
}}"""

_PALE = f"""() => {{
    {_CONTRAST}
    const pale = [];
    for (const element of document.body.querySelectorAll("*")) {{
        const said = [...element.childNodes].filter(node => node.nodeType === Node.TEXT_NODE && node.data.trim());
        if (!said.length || !element.checkVisibility({{visibilityProperty: true, opacityProperty: true}})) continue;
        if (element.matches(":disabled, option")) continue;
        const under = behind(element);
        const style = getComputedStyle(element);
        const [dark, light] = [under, over(style.color, under)].map(brightness).sort((a, b) => a - b);
        const ratio = (light + 0.05) / (dark + 0.05);
        const large = parseFloat(style.fontSize) >= (style.fontWeight >= 700 ? 18.66 : 24);
        if (ratio < (large ? 3 : 4.5)) pale.push([element.outerHTML.slice(0, 120), ratio]);
    }}
    return pale;
}}"""

_IS_TOO_WIDE = """() => [...document.querySelectorAll("*")]
    .filter(element => element.checkVisibility({visibilityProperty: true})
        && element.getBoundingClientRect().right > innerWidth + 0.5
        && getComputedStyle(element).position !== "fixed" && !element.closest("[role=log], ul, ol, [hidden]"))
    .map(element => element.outerHTML.slice(0, 120))
    .concat([document.scrollingElement, ...document.querySelectorAll("[role=log], ul, ol")]
        .filter(element => element.checkVisibility({visibilityProperty: true})
            && element.scrollWidth > element.clientWidth)
        .map(element => `${element.outerHTML.slice(0, 80)} scrolls to ${element.scrollWidth}`))"""
