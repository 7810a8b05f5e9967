"""Many messages, and few bytes."""

from __future__ import annotations

import asyncio
import sys
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Response, expect

from bcast_grpc.v1 import chat_pb2 as pb
from tests.integration.peers import Door

from .conftest import Visit
from .opening import fill, measure_opening
from .server import PageServer

pytestmark = pytest.mark.asyncio(loop_scope="package")

A_SECOND = 1000
SECONDS = 4
MAX_LINES = 1500
MAX_PAGE_BYTES = 50_000

_COUNT = """() => {
    window.frames_ = 0;
    window.mostLines = 0;
    const log = document.querySelector("[role=log]");
    const count = () => {
        window.frames_ += 1;
        window.mostLines = Math.max(window.mostLines, log.querySelectorAll("[data-kind]").length);
        requestAnimationFrame(count);
    };
    requestAnimationFrame(count);
}"""


async def test_a_thousand_messages_a_second(visit: Visit, server: PageServer, door: Door, room: str) -> None:
    """They all arrive, the page draws on, and one can write while they come."""
    ana, bob = await visit(server.url), await visit(server.url)
    await ana.enter(room, "ana")
    await bob.enter(room, "bob")
    await ana.page.evaluate(_COUNT)
    total = A_SECOND * SECONDS
    flood = asyncio.create_task(pour(door, room, total))
    await expect(ana.messages.last).to_be_visible()
    said, drawn = 0, 0
    while not flood.done():
        said += 1
        await ana.box.press_sequentially(f"I can write {said}")
        await expect(ana.box).to_have_value(f"I can write {said}")
        await ana.box.press("Enter")
        drawn, before = await ana.page.evaluate("window.frames_"), drawn
        assert drawn > before
    await flood
    await door.publish("the end", name="peer", room=room)
    for person in (ana, bob):
        await expect(person.line("the end")).to_be_in_viewport()
        await person.has_said_all()
    places = list(range(1, total + said + 2))
    assert ana.places == bob.places == places
    assert await ana.page.evaluate("window.mostLines") <= MAX_LINES
    shown = await ana.messages.evaluate_all("lines => lines.map(line => Number(line.dataset.seq))")
    assert shown == places[-len(shown) :]


async def pour(door: Door, room: str, total: int) -> None:
    """Send a thousand messages a second, in batches."""
    peer = await door.connect("peer", room=room, batch="1")
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for first in range(0, total, 50):
        await asyncio.sleep(begun + first / A_SECOND - loop.time())  # it is the pace itself that is tested
        batch = [pb.ConnectRequest(msg=f"message {n}", id=f"{n}") for n in range(first, first + 50)]
        await peer.send(pb.ConnectRequest(batch=batch))
    await peer.answer(f"{total - 1}")
    peer.cancel()


async def test_the_page_is_small_and_comes_from_one_host(visit: Visit, server: PageServer, room: str) -> None:
    """Everything that is loaded, together, as it comes over the network."""
    ana = await visit(server.url)
    responses: list[Response] = []
    ana.page.context.on("response", lambda response: responses.append(response))
    await ana.enter(room, "ana")
    await ana.page.wait_for_load_state("networkidle")
    assert {urlsplit(response.url).netloc for response in responses} == {server.http}
    assert all(response.ok for response in responses)
    sizes = {urlsplit(one.url).path: (await one.request.sizes())["responseBodySize"] for one in responses}
    assert 0 < sum(sizes.values()) < MAX_PAGE_BYTES, sizes
    assert {"/", "/style.css"} <= sizes.keys()


async def test_the_way_from_the_address_to_the_first_message(browser: Browser, server: PageServer, room: str) -> None:
    """A newcomer reads what was said before; how soon is printed (``-s``), and no promise."""
    await fill(server, room)
    taken = await measure_opening(browser, server, room)
    sys.stdout.write(f"\nfirst message after {taken:.0f} ms\n")
