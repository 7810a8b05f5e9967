"""Names that stand for several servers."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from bcast_grpc.client import names
from bcast_grpc.client.address import Address
from bcast_grpc.client.names import Candidate, candidates

CHAT = Address("chat.example:4000")


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Let names have addresses; returns what was asked for."""
    asked: list[str] = []

    def let(*ips: str) -> list[str]:
        def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
            asked.append(host)
            if not ips:
                raise socket.gaierror("no such name")
            return [(0, 0, 0, "", (ip, port)) for ip in ips]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    return let


async def test_a_name_with_several_addresses_is_taken_apart(resolve: Callable[..., list[str]]) -> None:
    """Each may be another server; the family that the system prefers is known."""
    resolve("fd00::1", "10.0.0.1", "fd00::2", "10.0.0.1")
    assert await candidates([CHAT]) == [
        Candidate(Address("[fd00::1]:4000", "chat.example:4000"), 0),
        Candidate(Address("10.0.0.1:4000", "chat.example:4000"), 1),
        Candidate(Address("[fd00::2]:4000", "chat.example:4000"), 0),
    ]


@pytest.mark.parametrize("ips", [[], ["10.0.0.1"], ["::1", "127.0.0.1"]])
async def test_a_name_for_one_server_is_left_to_grpc(resolve: Callable[..., list[str]], ips: list[str]) -> None:
    """Though it has an address of each family; and so is one that is not known."""
    asked = resolve(*ips)
    assert await candidates([CHAT]) == [Candidate(CHAT)]
    assert asked == ["chat.example"]


async def test_addresses_are_not_looked_up(resolve: Callable[..., list[str]]) -> None:
    """Nor names that gRPC alone understands."""
    asked = resolve("10.0.0.1", "10.0.0.2")
    given = [
        Address("127.0.0.1:1"),
        Address("[fe80::1%eth0]:1"),
        Address("unix:/run/x"),
        Address("dns:///chat.example:1"),
    ]
    assert await candidates(given) == [Candidate(each) for each in given]
    assert not asked


async def test_a_proxy_looks_names_up_itself(
    resolve: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here they may not be known."""
    asked = resolve("10.0.0.1", "10.0.0.2")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    assert await candidates([CHAT]) == [Candidate(CHAT)]
    assert not asked


async def test_a_name_server_that_is_silent_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither other names, nor the end; and all who wait for a name share one thread."""
    monkeypatch.setattr(names, "_LOOKUP_S", 0.05)
    hold, asked = threading.Event(), []

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        if host == "silent.example":
            hold.wait()
        return [(0, 0, 0, "", (f"10.0.0.{n}", port)) for n in range(2)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    silent = Address("silent.example:1")
    found = await asyncio.gather(*(candidates([silent, CHAT]) for _ in range(20)))
    assert all(each[0] == Candidate(silent) and len(each) == 3 for each in found)
    assert asked.count("silent.example") == 1
    hold.set()
