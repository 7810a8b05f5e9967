"""Host names that stand for several servers.

gRPC looks names up, too, but it keeps the addresses to itself: the client could not leave one that is full or about to
end, and would not know which one failed. So a name is taken apart where it has several addresses of one family. Any
other name is left to gRPC, which tries both families of a server (https://www.rfc-editor.org/rfc/rfc8305), and so are
all names where a proxy is used, because then the proxy looks them up.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import NamedTuple

from bcast_grpc.client.address import Address, is_local

MAX_ADDRESSES = 32
"""How many addresses of a name are used."""

_LOOKUP_S = 2.0
"""How long a lookup may take before the name is left to gRPC."""

_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")

_under_way: dict[tuple[str, int], Future[list[str]]] = {}
"""Lookups are shared, so that a name server that does not answer holds up one thread for each name and no more."""


class Candidate(NamedTuple):
    """An address, and how much the system prefers others of the same name: 0 for the family that it names first."""

    address: Address
    later: int = 0


async def candidates(addresses: Sequence[Address]) -> list[Candidate]:
    """Look up all names, at the same time."""
    found = await asyncio.gather(*(_take_apart(each) for each in addresses))
    return [each for several in found for each in several]


async def _take_apart(address: Address) -> list[Candidate]:
    host_port = address.host_port
    if host_port is None or _is_ip(host_port[0]) or _is_proxied(address.target):
        return [Candidate(address)]
    host, port = host_port
    ips = await _look_up(host, port)
    families = [":" in ip for ip in ips]
    if len(ips) < 2 or max(Counter(families).values()) < 2:
        return [Candidate(address)]
    return [
        Candidate(Address(f"[{ip}]:{port}" if is_v6 else f"{ip}:{port}", address.target), int(is_v6 != families[0]))
        for ip, is_v6 in zip(ips, families, strict=True)
    ]


async def _look_up(host: str, port: int) -> list[str]:
    """The addresses of a host, in the system's order; none if they cannot be found in time."""
    lookup: Future[list[str]] = Future()
    lookup.set_running_or_notify_cancel()  # whoever gives up must not cancel it for others
    shared = _under_way.setdefault((host, port), lookup)
    if shared is lookup:
        # Not in the loop's executor: at its end a program would wait for a lookup that hangs.
        Thread(target=_work, args=(lookup, host, port), name="bcast_grpc lookup", daemon=True).start()
    waiting = asyncio.wrap_future(shared)
    await asyncio.wait({waiting}, timeout=_LOOKUP_S)
    return waiting.result() if waiting.done() else []


def _work(lookup: Future[list[str]], host: str, port: int) -> None:
    found: list[str] = []
    with suppress(OSError, UnicodeError):
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found = list(dict.fromkeys(str(info[4][0]) for info in infos))[:MAX_ADDRESSES]
    del _under_way[host, port]
    lookup.set_result(found)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_proxied(target: str) -> bool:
    return not is_local(target) and any(os.environ.get(name) for name in _PROXIES)
