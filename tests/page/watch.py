"""What pages do that no page should: everything they ask the network for, and every fault of theirs."""

from __future__ import annotations

import logging
import re
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, ConsoleMessage, Dialog, Page, WebError

_log = logging.getLogger(__name__)  # pytest shows it where a test fails

# A browser writes by itself that a server is not there.
_NO_NETWORK = re.compile(r"WebSocket connection to '|Failed to load resource: net::ERR_")

_TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", event => {
    tellFault(`forbidden by the CSP: ${event.effectiveDirective} ${event.blockedURI} ${event.sample}`);
});
"""


class Watch:
    """An eye on browser contexts.

    Attributes:
        asked: the URL of every request and of every WebSocket.
        faults: what went wrong: errors nobody caught, errors on the console, violations of the CSP, dialogs.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.faults: list[str] = []
        self._hosts: set[str] = set()

    async def over(self, context: BrowserContext, url: str) -> None:
        """Watch a context, whose pages may talk to the server at ``url`` and to nobody else."""
        self._hosts.add(urlsplit(url).netloc)
        context.on("request", lambda request: self.asked.append(request.url))
        context.on("requestfailed", lambda request: _log.warning("%s failed: %s", request.url, request.failure))
        context.on("page", self._watch_page)
        context.on("console", self._hear)
        context.on("weberror", self._note_error)
        context.on("dialog", self._refuse)
        await context.expose_binding("tellFault", lambda _, fault: self.faults.append(fault))
        await context.add_init_script(_TELL_VIOLATIONS)

    def check(self) -> None:
        """Look whether all was as it should be."""
        assert not self.faults, self.faults
        assert {urlsplit(url).netloc for url in self.asked} <= self._hosts, self.asked

    def _watch_page(self, page: Page) -> None:
        page.on("websocket", lambda socket: self.asked.append(socket.url))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not _NO_NETWORK.match(message.text):
            self.faults.append(f"{message.type}: {message.text}")

    def _note_error(self, error: WebError) -> None:
        self.faults.append(f"not caught: {error.error}")

    async def _refuse(self, dialog: Dialog) -> None:
        self.faults.append(f"{dialog.type}: {dialog.message}")
        await dialog.dismiss()
