"""A person in front of the page: what they do, and what they see."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from playwright.async_api import Locator, Page, WebSocket, expect

from tests.integration.peers import START_S

_SAID = """lines => lines.map(line => [".author", ".text"].map(part => line.querySelector(part).textContent))"""

_WAKE = """() => {
    for (const type of ["pageshow", "online"]) window.dispatchEvent(new Event(type));
    for (const type of ["visibilitychange", "resume"]) document.dispatchEvent(new Event(type));
}"""

# A browser without a window shows every tab.
_HIDE = """hidden => {
    Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
    Object.defineProperty(document, "visibilityState", {value: hidden ? "hidden" : "visible", configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""


class Person:
    """Someone with a tab of a browser.

    Attributes:
        form: where one says who one is.
        log: what was said.
        box: what one types into.
        undelivered: one's own messages that have no place in the log yet.
        people: who is here.
        status: how the connection is, in words.
        heard: the events that came over the tab's WebSockets, as JSON.
        sockets: how many WebSockets were opened.
        addresses: theirs.
        client: the stable id by which the server knows the tab.
        listens: whether to keep what comes over the tab's next WebSockets.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.name_box = page.get_by_role("textbox", name="Name", exact=True)
        self.room_box = page.get_by_role("textbox", name="Room", exact=True)
        self.token_box = page.get_by_label("Token", exact=True).and_(page.locator(":visible"))
        self.join = page.get_by_role("button", name="Join", exact=True)
        self.log = page.get_by_role("log", name="Messages", exact=True)
        self.lines = self.log.locator("[data-kind]")
        self.messages = self.log.locator("[data-kind=message]")
        self.notes = self.log.locator("[data-kind=note], [data-kind=gap]")
        self.box = page.get_by_role("textbox", name="Message", exact=True)
        self.send = page.get_by_role("button", name="Send", exact=True)
        self.undelivered = page.get_by_role("list", name="Not yet delivered", exact=True).get_by_role("listitem")
        self.people = page.get_by_role("list", name="People", exact=True).get_by_role("listitem")
        self.status = page.get_by_role("status")
        self.heard: list[dict[str, Any]] = []
        self.sockets = 0
        self.addresses: list[str] = []
        self.client = ""
        self.listens = True
        page.on("websocket", self._listen)

    async def open(self, room: str, name: str = "") -> None:
        """Go to the address of a room."""
        query = f"?room={quote(room, safe='')}" + (f"&name={quote(name, safe='')}" if name else "")
        await self.page.goto(f"{self.url}/{query}")

    async def enter(self, room: str, name: str) -> None:
        """Go into a room by its address."""
        await self.open(room, name)
        await self.is_in("online")

    async def is_in(self, state: str) -> None:
        """Wait until the page is in a state; a browser that has just begun has none for a while."""
        await expect(self.page.locator("body")).to_have_attribute("data-state", state, timeout=START_S * 1000)

    async def say(self, text: str) -> None:
        """Type a message of one line or more, and press Enter."""
        await self.box.fill(text)
        await self.box.press("Enter")

    def line(self, text: str) -> Locator:
        """Return the messages of exactly this text."""
        whole = re.compile(f"^{re.escape(text)}$")
        return self.messages.filter(has=self.page.locator(".text", has_text=whole))

    async def sees(self, *texts: str) -> None:
        """Wait until each of these messages is in the log, once."""
        for text in texts:
            await expect(self.line(text)).to_have_count(1)

    async def sees_notice(self, kind: str, text: str) -> None:
        """Wait for a line that nobody wrote."""
        await expect(self.log.locator(f"[data-kind={kind}]", has_text=text)).not_to_have_count(0)

    async def has_said_all(self) -> None:
        """Wait until each message of one's own is in the log."""
        await expect(self.undelivered).to_have_count(0)

    async def said(self) -> list[tuple[str, str]]:
        """Return author and text of each message in the log."""
        return [(author, text) for author, text in await self.messages.evaluate_all(_SAID)]

    async def texts(self) -> list[str]:
        """Return the text of each message in the log."""
        return [text for _, text in await self.said()]

    async def look_away(self) -> None:
        """Hide the tab."""
        await self.page.evaluate(_HIDE, arg=True)

    async def look_back(self) -> None:
        """Show it again."""
        await self.page.evaluate(_HIDE, arg=False)

    async def wake(self) -> None:
        """Let the page believe that it has slept."""
        await self.page.evaluate(_WAKE)

    @property
    def places(self) -> list[int]:
        """The places of the messages that came over the tab's WebSockets."""
        return [int(event["seq"]) for event in self.heard if event["kind"] == "EVENT_KIND_MESSAGE"]

    def was_told(self, code: str) -> bool:
        """Whether an error with this code has come."""
        return any(event.get("error", {}).get("code") == f"ERROR_CODE_{code}" for event in self.heard)

    def _listen(self, socket: WebSocket) -> None:
        self.sockets += 1
        self.addresses.append(socket.url)
        self.client = parse_qs(urlsplit(socket.url).query)["client"][0]
        if self.listens:
            socket.on("framereceived", lambda frame: self.heard.extend(json.loads(frame)))
