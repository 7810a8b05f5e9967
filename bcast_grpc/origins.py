"""The origins of web pages, in the one form that browsers send."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

import idna

_DEFAULT_PORTS = {"http": 80, "https": 443}

# There are no pages of these, or all of them have the same origin, "null", which tells nothing.
_WITHOUT_ORIGIN = frozenset({"about", "blob", "data", "file", "filesystem", "ftp", "javascript", "ws", "wss"})

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(.+)", re.ASCII | re.IGNORECASE)
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:\[\]]+)(?::([0-9]{1,5}))?")
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
_OPAQUE = re.compile(r"[!-~]+")
_MAX_CHARACTERS = 512
_NEVER_IN_A_HOST = re.compile(r"[\s/?#@\\*%<>^|,]")


class Origin(NamedTuple):
    """Where a page comes from.

    Attributes:
        scheme: ``http`` or ``https``; an app or an extension has one of its own, such as ``capacitor``.
        host: in small letters, in ASCII (``xn--…``), an IPv6 address in brackets.
        port: None where the scheme has no default and none was given.
    """

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        """Return what a browser sends."""
        default = _DEFAULT_PORTS.get(self.scheme)
        return f"{self.scheme}://{self.host}" + ("" if self.port == default else f":{self.port}")


def parse_origin(text: str) -> Origin:
    """Read an origin.

    Raises:
        ValueError: it is none.
    """
    match = _ORIGIN.fullmatch(text)
    if match is None or match[1].lower() in _WITHOUT_ORIGIN:
        raise ValueError(f"{text!r} is no origin")
    scheme = match[1].lower()
    return Origin(scheme, *parse_host(match[2], scheme))


def parse_host(text: str, scheme: str) -> tuple[str, int | None]:
    """Read ``HOST`` or ``HOST:PORT``, the port being the scheme's where none is given.

    Raises:
        ValueError: it is neither.
    """
    match = _HOST_AND_PORT.fullmatch(text)
    if match is None or len(text) > _MAX_CHARACTERS or _NEVER_IN_A_HOST.search(text):
        raise ValueError(f"{text!r} is no host")
    port = int(match[2]) if match[2] else _DEFAULT_PORTS.get(scheme)
    if port is not None and port > 65535:
        raise ValueError(f"{port} is no port")
    if scheme in _DEFAULT_PORTS:
        return _read_host(match[1]), port
    if not _OPAQUE.fullmatch(match[1]):
        raise ValueError(f"{text!r} is no host")
    return match[1].lower(), port


def _read_host(host: str) -> str:
    if host.startswith("["):
        return f"[{IPv6Address(host[1:-1])}]"
    name = host.lower() if host.isascii() else idna.encode(host, uts46=True).decode()
    if not _NAME.fullmatch(name):
        raise ValueError(f"{host!r} is no host")
    if name.rstrip(".").rpartition(".")[2].isdigit():
        return str(IPv4Address(name))
    return name
