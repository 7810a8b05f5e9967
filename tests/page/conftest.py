"""A browser for all tests, a server for most, and for each test people whom nobody has seen before."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ViewportSize

from tests.integration.peers import PATIENCE_S, Door
from tests.promises.cable import Cable
from tests.terminal.screen import Terminal
from tests.unchanged import network_stays

from .chromium import PROGRAMS, chromium, find_chromium
from .person import Person
from .proxy import Proxy
from .server import PageServer, serving
from .watch import Watch

TALL: ViewportSize = {"width": 1000, "height": 2000}
"""Room for some fifty lines, since only those in sight are in the document."""

Visit = Callable[..., Awaitable[Person]]
Serve = Callable[..., Awaitable[PageServer]]
LayCable = Callable[[PageServer], Awaitable[Cable]]
LayProxy = Callable[[PageServer], Awaitable[Proxy]]
OpenTerminal = Callable[..., Awaitable[Terminal]]


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncIterator[Browser]:
    """The browser of this machine."""
    if not find_chromium():
        missing = f"no browser: none of {', '.join(PROGRAMS)} is installed"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def server() -> AsyncIterator[PageServer]:
    """A server for all tests that ask nothing special of it; each has a room of its own."""
    async with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def _same_network() -> Iterator[None]:
    """Let no other test change the machine's network: the browser would drop its requests."""
    with network_stays():
        yield


@pytest.fixture
def room() -> str:
    """A room where nobody has been."""
    return f"room {uuid.uuid4().hex[:8]}"


@pytest_asyncio.fixture(loop_scope="package")
async def visit(browser: Browser) -> AsyncIterator[Visit]:
    """Let people come, each with a profile of their own; no page of theirs asked another host or had a fault.

    ``url`` is the server's, or that of a cable to it; the options are those of a browser context.
    """
    watch = Watch()
    async with AsyncExitStack() as stack:

        async def arrive(url: str, **options: Any) -> Person:
            context = await browser.new_context(**{"viewport": TALL, **options})
            stack.push_async_callback(context.close)
            context.set_default_timeout(PATIENCE_S * 1000)
            await watch.over(context, url)
            return Person(await context.new_page(), url)

        yield arrive
    watch.check()


@pytest_asyncio.fixture(loop_scope="package")
async def serve() -> AsyncIterator[Serve]:
    """Start servers of one's own."""
    async with AsyncExitStack() as stack:

        async def start(*arguments: str) -> PageServer:
            return await stack.enter_async_context(serving(*arguments))

        yield start


@pytest_asyncio.fixture(loop_scope="package")
async def lay_cable() -> AsyncIterator[LayCable]:
    """Lay cables to servers' HTTP ports, which can be cut and stalled."""
    async with AsyncExitStack() as stack:

        async def lay(server: PageServer) -> Cable:
            cable = Cable(server.http)
            await cable.lay()
            stack.push_async_callback(cable.close)
            return cable

        yield lay


@pytest_asyncio.fixture(loop_scope="package")
async def lay_proxy() -> AsyncIterator[LayProxy]:
    """Put proxies before servers' HTTP ports."""
    async with AsyncExitStack() as stack:

        async def lay(server: PageServer) -> Proxy:
            proxy = Proxy(server.url)
            await proxy.start()
            stack.push_async_callback(proxy.stop)
            return proxy

        yield lay


@pytest_asyncio.fixture(loop_scope="package")
async def door(server: PageServer) -> AsyncIterator[Door]:
    """The gRPC port of the server for all tests."""
    door = Door(server.grpc)
    yield door
    await door.close()


@pytest_asyncio.fixture(loop_scope="package")
async def open_terminal() -> AsyncIterator[OpenTerminal]:
    """Run the terminal client on terminals of their own."""
    opened: list[Terminal] = []

    async def start(*arguments: str) -> Terminal:
        terminal = Terminal(*arguments, environment={})
        opened.append(terminal)
        await terminal.until_shows("type /help")
        return terminal

    yield start
    for terminal in opened:
        terminal.close()
