"""Checks that a request opens a WebSocket correctly, and that it comes from an allowed page."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Collection
from ipaddress import ip_address

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11

from bcast_grpc.core.names import shortened
from bcast_grpc.origins import Origin, parse_host, parse_origin

ANY_ORIGIN = "*"

_ONCE = (hdrs.HOST, hdrs.ORIGIN, hdrs.UPGRADE, hdrs.SEC_WEBSOCKET_VERSION, hdrs.SEC_WEBSOCKET_KEY)
_VERSIONS = ("13", "8", "7")
_KEY_BYTES = 16


def check_upgrade(request: web.Request) -> None:
    """Check that a request asks for a WebSocket at all.

    Raises:
        HTTPUpgradeRequired: it does not; the text says what would be right.
    """
    if request.version < HttpVersion11 or request.headers.get(hdrs.UPGRADE, "").strip().lower() != "websocket":
        raise web.HTTPUpgradeRequired(
            text="this is a WebSocket: use ws:// or wss://; a proxy must speak HTTP/1.1 and pass on Upgrade\n",
            headers={hdrs.UPGRADE: "websocket"},
        )


def check_once(request: web.Request) -> None:
    """Check that no header is given twice by which a handshake is decided: proxies may look at another one than we do.

    Raises:
        HTTPBadRequest: one is; the text says which.
    """
    for name in _ONCE:
        if len(request.headers.getall(name, ())) > 1:
            raise web.HTTPBadRequest(text=f"{name}: must be given once\n")


def check_handshake(request: web.Request) -> None:
    """Check the other headers of a request for a WebSocket.

    Raises:
        HTTPBadRequest: the text says which header is wrong.
        HTTPUpgradeRequired: the request asks for another version of the protocol.
    """
    headers = request.headers
    options = ",".join(headers.getall(hdrs.CONNECTION, ()))
    if "upgrade" not in {token.strip().lower() for token in options.split(",")}:
        raise web.HTTPBadRequest(text="Connection: must contain Upgrade\n")
    version = headers.get(hdrs.SEC_WEBSOCKET_VERSION)
    if version is None:
        raise web.HTTPBadRequest(text="Sec-WebSocket-Version: is missing; it must be 13\n")
    if version not in _VERSIONS:
        raise web.HTTPUpgradeRequired(
            text=f"Sec-WebSocket-Version: must be 13, not {shown(version)}\n",
            headers={hdrs.UPGRADE: "websocket", hdrs.SEC_WEBSOCKET_VERSION: _VERSIONS[0]},
        )
    if not _is_key(headers.get(hdrs.SEC_WEBSOCKET_KEY, "")):
        raise web.HTTPBadRequest(text=f"Sec-WebSocket-Key: must be {_KEY_BYTES} bytes in base64\n")


class Gate:
    """Decides which pages may open the WebSocket.

    Args:
        origins: the origins of allowed pages, besides the server's own; ``*`` allows all.
        on_loopback: whether only this machine reaches the server.
    """

    def __init__(self, origins: Collection[str], *, on_loopback: bool) -> None:
        self._all = ANY_ORIGIN in origins
        self._origins = frozenset(parse_origin(origin) for origin in origins if origin != ANY_ORIGIN)
        self._on_loopback = on_loopback

    def check(self, request: web.Request) -> None:
        """Check the origin of the page that asks. A program sends no origin, and is allowed.

        Raises:
            HTTPForbidden: the origin is not allowed.
        """
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None or self._all or self._lets_in(origin, request.headers.get(hdrs.HOST, "")):
            return
        raise web.HTTPForbidden(
            text=f"pages of {shown(origin)} may not connect; the server allows origins with --http-allow-origin\n"
        )

    def _lets_in(self, text: str, host: str) -> bool:
        try:
            origin = parse_origin(text)
            return origin in self._origins or self._is_ours(origin, host)
        except ValueError:
            return False

    def _is_ours(self, origin: Origin, host: str) -> bool:
        # A proxy may have removed TLS, so the scheme only tells which port is the default. On loopback the host must
        # be a name of this machine itself: a foreign name that resolves to it (DNS rebinding) is a foreign page.
        if origin.scheme not in ("http", "https") or (origin.host, origin.port) != parse_host(host, origin.scheme):
            return False
        return not self._on_loopback or _is_local_name(origin.host)


def shown(text: str) -> str:
    """Return what a client wrote, shortened and escaped, so that an answer or the log may repeat it."""
    return ascii(shortened(text))


def _is_key(key: str) -> bool:
    try:
        return len(b64decode(key, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):  # ValueError: it is not ASCII
        return False


def _is_local_name(host: str) -> bool:
    """Whether a host is an address, or a name that always means this machine."""
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return True
