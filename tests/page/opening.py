"""How long it takes from opening the page to reading the first message: ``python -m tests.page.opening``."""

from __future__ import annotations

import asyncio
import statistics
import sys

from playwright.async_api import Browser

from tests.integration.peers import Door

from .chromium import chromium
from .person import Person
from .server import PageServer, serving

OPENINGS = 20
MESSAGES = 50

# Two frames later it is on the screen.
_NOTE_FIRST_MESSAGE = """
window.firstMessage = new Promise(resolve => {
    const look = () => {
        if (!document.querySelector("[role=log] [data-kind=message]")) return;
        observer.disconnect();
        requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now())));
    };
    const observer = new MutationObserver(look);
    observer.observe(document, {childList: true, subtree: true});
});
"""


async def fill(server: PageServer, room: str) -> None:
    """Say something in the room that is to be opened."""
    door = Door(server.grpc)
    for n in range(MESSAGES):
        await door.publish(f"message {n}", name="peer", room=room)
    await door.close()


async def measure_opening(browser: Browser, server: PageServer, room: str) -> float:
    """Open the room in a browser that has seen nothing of it before.

    Returns:
        The milliseconds from the navigation's begin until the first message can be read.
    """
    context = await browser.new_context()
    await context.add_init_script(_NOTE_FIRST_MESSAGE)
    person = Person(await context.new_page(), server.url)
    await person.open(room, "ana")
    taken: float = await person.page.evaluate("window.firstMessage")
    await context.close()
    return taken


async def main() -> None:
    """Open it some times, and print median and 95th percentile."""
    async with serving() as server, chromium() as browser:
        await fill(server, "dev")
        taken = [await measure_opening(browser, server, "dev") for _ in range(OPENINGS)]
    p95 = statistics.quantiles(taken, n=20)[-1]
    sys.stdout.write(f"{OPENINGS} openings: median {statistics.median(taken):.0f} ms, p95 {p95:.0f} ms\n")


if __name__ == "__main__":
    asyncio.run(main())
