"""Takes credentials out of a request before aiohttp keeps it, perhaps as long as a WebSocket."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aiohttp import hdrs
from aiohttp.http import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

SUBPROTOCOL = "bcast"
"""The subprotocol that a client may offer; it must if it offers its token, too."""

TOKEN_PROTOCOL = f"{SUBPROTOCOL}.token."
"""The prefix of a token among the subprotocols: browsers cannot set ``Authorization``."""

_CACHED_ADDRESSES = 128
"""How many yarl keeps; a test finds out if that changes."""

_SECRETS = frozenset({"authorization", "cookie", "proxy-authorization"})


def take_tokens(message: RawRequestMessage) -> tuple[RawRequestMessage, Sequence[str]]:
    """Return a request without its credentials, and its tokens, as values of ``Authorization``."""
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


def has_token_in_address(query: str) -> bool:
    """Whether there is a token where none may be."""
    return any(pair.startswith("token=") for pair in query.split("&"))


def forget_addresses() -> None:
    """Have yarl forget the addresses of past requests: it caches them, and there was a token in one.

    Its cache has no function for that, but it keeps only the last ones.
    """
    for number in range(_CACHED_ADDRESSES):
        URL.build(path=f"/{number}", query_string="", encoded=True)
        URL(f"/{number}", encoded=True)


def _offered(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        yield from (one.strip() for one in line.split(","))
