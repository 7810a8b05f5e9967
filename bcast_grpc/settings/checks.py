"""Checks of the texts that settings are given.

Each returns the value, and raises ``ValueError`` if it is none. What would be right is said by the setting's
``Accepts``, or where that would not help by the error (``must_be``).
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path

from pydantic_core import PydanticCustomError

from bcast_grpc.origins import parse_origin

NATS_PORT = 4222
"""Where NATS listens unless it is told otherwise."""


def check_host(host: str) -> str:
    """Return an address or the name of a host."""
    if re.fullmatch(r"[\w:%-]+(\.[\w:%-]+)*\.?", host, re.ASCII) is None:
        raise ValueError
    if ":" in host or host.replace(".", "").isdigit():
        ip_address(host)
    return host


_NO_FILES = (
    (r":?memory:?|:.*", "memory: to keep messages in memory, or sqlite:./{path} for a file of that name"),
    (r"file:.*", "a path, not a URI: sqlite:chat.db, or sqlite:./{path} for a file of that name"),
    (r"//.*", "a path, not a URL: sqlite:chat.db in this directory, or sqlite:/var/lib/chat.db"),
    (r"(?!\.{0,2}/).*\?\w+=.*", "a path without parameters: sqlite:{bare}"),
    (r"~.*", "a full path, since ~ is not expanded: sqlite:/home/…, or sqlite:./{path} for a file of that name"),
    (r"\s.*|.*\s", "a path without blanks around it: sqlite:{stripped}"),
    (r".*[\x00-\x1f\x7f].*", "a path without control characters"),
    (r"(.*/)?\.{0,2}", "the path of a file, not of a directory: sqlite:{directory}chat.db"),
)
"""Texts that look like a path but were meant to be something else, and what would be right."""


NATS_SCHEMES = ("nats://", "tls://")
"""What the stores that many servers share begin with; the second demands TLS."""


EMBEDDED = "nats:embedded"
"""The store that is a NATS server of this server's own; a colon and a folder may follow."""


def check_store(store: str) -> str:
    """Return where messages are kept, with NATS's ports."""
    if store == EMBEDDED or store.startswith(f"{EMBEDDED}:"):
        return _check_folder(store)
    for scheme in NATS_SCHEMES:
        if store.startswith(scheme):
            return scheme + ",".join(map(_check_server, store.removeprefix(scheme).split(",")))
    scheme, _, path = store.partition("sqlite:")
    if store == "memory:":
        return store
    if scheme or not path.strip():
        raise ValueError
    for pattern, words in _NO_FILES:
        if re.fullmatch(pattern, path, re.DOTALL | re.IGNORECASE):
            directory = path if path.endswith("/") else f"{path}/"
            shown = {"path": path, "bare": path.partition("?")[0], "stripped": path.strip(), "directory": directory}
            raise PydanticCustomError("must_be", words.format_map(shown))
    return store


def _check_folder(store: str) -> str:
    _, colon, path = store.removeprefix(EMBEDDED).partition(":")
    if colon and (not path.strip("/. ") or path != path.strip() or path.startswith("~") or not path.isprintable()):
        raise PydanticCustomError("must_be", "nats:embedded, or nats:embedded:FOLDER as in nats:embedded:/var/lib/chat")
    return store


def _check_server(server: str) -> str:
    if "@" in server:  # the log and --print-config name the server
        raise PydanticCustomError("must_be", "nats://HOST:PORT without a user: use store-user and store-password-file")
    parts = re.fullmatch(r"(\[[^\[\]]+\]|[^\[\]:]+)(?::(\d+))?", server.strip())
    if parts is None or not 0 < int(parts[2] or NATS_PORT) < 65536:
        raise ValueError
    check_host(parts[1].strip("[]"))
    return f"{parts[1]}:{parts[2] or NATS_PORT}"


def check_file(file: Path | None) -> Path | None:
    """Return the path of a file; None for off."""
    if file is not None and (str(file) == "." or not str(file).isprintable()):
        raise ValueError
    return file


def split(listed: object) -> object:
    """Return what is listed: by commas, or one at a time."""
    if listed is None:
        return ()
    parts = [listed] if isinstance(listed, str) else listed
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        return listed
    return [one.strip() for part in parts for one in part.split(",")]


def check_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    """Return origins as browsers write them, and ``*`` for all."""
    return tuple(origin if origin == "*" else str(parse_origin(origin)) for origin in origins)


def check_networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    """Return networks, each in its one form."""
    return tuple(str(_unmapped(ip_network(network))) for network in networks)


def _unmapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Return the IPv4 network that IPv6 maps, as addresses are compared."""
    mapped = isinstance(network, IPv6Network) and network.prefixlen >= 96 and network.network_address.ipv4_mapped
    return IPv4Network((mapped, network.prefixlen - 96)) if mapped else network


def check_token_keys(sources: tuple[str, ...]) -> tuple[str, ...]:
    """Return files and URLs with keys."""
    for source in sources:
        scheme, colon, rest = source.partition("://")
        if not source.isprintable() or not source or (colon and scheme != "https"):
            raise ValueError
        if colon and "@" in rest.partition("/")[0]:  # the log and --print-config name the URL
            raise PydanticCustomError("must_be", "a URL without a user and a password: keys that verify are public")
    return sources


def read_switch(value: object) -> object:
    """Read a switch: environment variables and flags have 1 and 0, TOML has true and false."""
    if value in ("1", "0", "true", "false", 1, 0):
        return value in ("1", "true", 1)
    raise ValueError


def refuse_bool(value: object) -> object:
    """Keep ``port = true`` from being port 1."""
    if isinstance(value, bool):
        raise ValueError  # the only exception that pydantic turns into a validation error
    return value
