"""A client of nats-py that looks at a server before it logs in to it."""

from __future__ import annotations

from typing import Any

from nats import errors
from nats.aio.client import Client, Srv

OLDEST = (2, 12, 4)
"""The oldest version that is known to work. Older ones accept the stream's configuration, and do not follow it."""


class Refused(errors.Error):
    """A server that this one does not use."""


class CheckingClient(Client):
    """Looks at what a server says about itself before it logs in to it, and closes what it opens."""

    def __init__(self, demands_tls: bool) -> None:
        super().__init__()
        self._demands_tls = demands_tls

    async def _connect_to_server(self, s: Srv) -> None:
        if self._transport:  # of an attempt that failed after the connection was made: nobody else closes it
            self._transport.close()  # type: ignore[no-untyped-call]
        await super()._connect_to_server(s)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection:
            if version_of(str(info.get("version"))) < OLDEST:
                oldest = ".".join(map(str, OLDEST))
                raise Refused(f"it is NATS {info.get('version')}, and must be {oldest} or later")
            if self._demands_tls and not info.get("tls_required"):
                raise Refused("it does not offer TLS, which tls:// demands")
        await super()._process_info(info, initial_connection)


def version_of(text: str) -> tuple[int, ...]:
    """Return the numbers of a version such as ``2.12.4-preview.1``; none if there are none."""
    parts = text.partition("-")[0].split(".")
    return tuple(int(part) for part in parts if part.isdecimal())
