"""What lets somebody in, taken out of a request before aiohttp keeps that: for as long as a WebSocket, say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aiohttp import hdrs
from aiohttp.http import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy

SUBPROTOCOL = "bcast"
"""What a client may name as the protocol on top of the WebSocket; it has to where it names its token beside it."""

TOKEN_PROTOCOL = f"{SUBPROTOCOL}.token."
"""Precedes the token: a browser cannot set ``Authorization``, so it may name its token among the subprotocols."""

_SECRETS = frozenset({"authorization", "cookie", "proxy-authorization"})


def take_tokens(message: RawRequestMessage) -> tuple[RawRequestMessage, Sequence[str]]:
    """Return a request without what lets somebody in, and its tokens, as values of ``Authorization``."""
    given = message.headers
    if not (_SECRETS.intersection(map(str.lower, given)) or hdrs.SEC_WEBSOCKET_PROTOCOL in given):
        return message, ()
    tokens = [*given.getall(hdrs.AUTHORIZATION, ())]
    headers = CIMultiDict((name, value) for name, value in given.items() if name.lower() not in _SECRETS)
    if offered := list(_offered(headers.popall(hdrs.SEC_WEBSOCKET_PROTOCOL, ()))):
        tokens += [f"Bearer {one.removeprefix(TOKEN_PROTOCOL)}" for one in offered if one.startswith(TOKEN_PROTOCOL)]
        others = [one for one in offered if not one.startswith(TOKEN_PROTOCOL)]
        headers[hdrs.SEC_WEBSOCKET_PROTOCOL] = ", ".join(others)
    return message._replace(headers=CIMultiDictProxy(headers), raw_headers=()), tokens


def _offered(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        yield from (one.strip() for one in line.split(","))
