"""Targets as people write them, read into the addresses of servers. No I/O."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import NamedTuple

DEFAULT_PORT = 50051
DEFAULT_TARGET = f"127.0.0.1:{DEFAULT_PORT}"
MAX_TARGETS = 64

_HOST_PORT = re.compile(r"(?P<scheme>grpcs?://)?(?P<host>\[[^\]\s]+\]|[^\s:/\[\],]+)(?::(?P<port>\d{1,5}))?")
_GRPC_NAME = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds):.+")
_PATH = ("unix:", "unix-abstract:")


class Address(NamedTuple):
    """One place where a server may be.

    Attributes:
        target: what gRPC connects to: ``HOST:PORT``, or a name that gRPC alone understands.
        name: the ``HOST:PORT`` that was given, if ``target`` is one of the several addresses of its host.
    """

    target: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.target.rpartition(':')[0].strip('[]')})" if self.name else self.target

    @property
    def host_port(self) -> tuple[str, int] | None:
        """Host and port; ``None`` for a name that gRPC alone understands."""
        if not _HOST_PORT.fullmatch(self.target):
            return None
        host, _, port = self.target.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def server_name(self) -> str:
        """The host that a server's certificate must be for."""
        return (self.name or self.target).rpartition(":")[0].strip("[]")


def read_targets(target: str | Iterable[str]) -> tuple[Address, ...]:
    """Read one or more targets; in a string, commas separate them.

    Whether there is TLS is said for all of them, by the first: a token must not go to one that is less safe.

    Raises:
        ValueError: one is not an address, one asks for other security than the first, or there are too many.
    """
    given = [each for text in ([target] if isinstance(target, str) else target) for each in _parts(text)]
    if not given:
        raise ValueError(f"target: there is none; it must be HOST:PORT, such as {DEFAULT_TARGET}")
    for each in given:
        scheme, found, _ = each.partition("://")
        if found and scheme in ("grpc", "grpcs") and wants_tls(each) != wants_tls(given[0]):
            raise ValueError(
                f"target: {given[0]!r} and {each!r} ask for different security; write grpcs:// before the first for"
                " TLS with all, or before none"
            )
    addresses = tuple(dict.fromkeys(Address(check_target(each)) for each in given))
    if len(addresses) > MAX_TARGETS:
        raise ValueError(f"target: there are {len(addresses)} addresses; at most {MAX_TARGETS} are allowed")
    return addresses


def check_target(target: str) -> str:
    """Return one address in the form that gRPC accepts.

    gRPC itself would use port 443 if none is given, and would take a port that is too large modulo 65536.

    Raises:
        ValueError: it is not an address.
    """
    if _GRPC_NAME.fullmatch(target) and not _HOST_PORT.fullmatch(target):
        return target
    found = _HOST_PORT.fullmatch(target)
    port = int(found["port"] or DEFAULT_PORT) if found else 0
    if not found or not 0 < port < 65536:
        raise ValueError(f"target: {target!r} is not an address; it must be HOST:PORT, such as {DEFAULT_TARGET}")
    return f"{_dotted(found['host'])}:{port}"


def wants_tls(target: str | Iterable[str]) -> bool:
    """Whether a target, as it was given, asks for TLS; of several, the first says so for all."""
    first = target if isinstance(target, str) else next(iter(target), "")
    return first.lstrip().startswith("grpcs://")


def is_local(target: str) -> bool:
    """Whether a target (from ``check_target``) is on this machine, however it is spelled."""
    scheme, _, rest = target.partition(":")
    if _HOST_PORT.fullmatch(target):
        return _is_loopback(target)
    if scheme in ("unix", "unix-abstract", "vsock"):
        return True
    return _is_loopback(rest.rpartition("/")[2])


def _parts(text: str) -> list[str]:
    parts = _split(text)
    if any(each.removeprefix("grpc://").removeprefix("grpcs://") == "" for each in parts):
        must = "it must be HOST:PORT, or several with commas between them"
        raise ValueError(f"target: {text!r} has an empty address; {must}")
    return parts


def _split(text: str) -> list[str]:
    """Split at commas. ``ipv4:`` and ``ipv6:`` hold for what follows them, and a path may contain a comma."""
    parts: list[str] = []
    kind = ""
    for part in text.split(","):
        if parts and parts[-1].startswith(_PATH) and not (_GRPC_NAME.fullmatch(part.strip()) or "://" in part):
            parts[-1] += f",{part}"
            continue
        each = part.strip()
        scheme, colon, _ = each.partition(":")
        if scheme in ("ipv4", "ipv6"):
            kind = scheme + colon
        elif kind and not _GRPC_NAME.fullmatch(each):
            each = kind + each
        parts.append(each)
    return parts


def _dotted(host: str) -> str:
    """Write an address such as 127.1 in full: other programs accept it, gRPC does not."""
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return host


def _is_loopback(address: str) -> bool:
    found = _HOST_PORT.fullmatch(address)
    host = found["host"].strip("[]").partition("%")[0].rstrip(".").lower() if found else ""
    if host in ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback") or host.endswith(".localhost"):
        return True
    try:
        ip = ipaddress.ip_address(host if ":" in host else socket.inet_aton(host))  # that also takes 127.1
    except (OSError, ValueError):
        return False
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.is_loopback or ip.is_unspecified
