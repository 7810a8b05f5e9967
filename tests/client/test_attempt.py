"""One attempt at several servers, in virtual time: each is tried once, and one that does not answer costs little."""

from __future__ import annotations

import asyncio
from typing import Any, Literal, NamedTuple

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.client import fork
from bcast_grpc.client.address import Address
from bcast_grpc.client.attempt import HEAD_START_S, Attempt
from bcast_grpc.client.endings import NoChatServer
from bcast_grpc.errors import BcastError, CallError, ConnectionLost, ErrorCode
from tests.transport.virtual import in_virtual_time

TIMEOUT_S = 10.0
READY, FAILED = grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.TRANSIENT_FAILURE

Answer = Literal["in", "refused", "full", "stranger", "unauthenticated", "expired"]

ERRORS: dict[str, BcastError] = {
    "refused": ConnectionLost("refused"),
    "full": CallError(ErrorCode.SERVER_FULL, "full", retry_after_s=3.0),
    "stranger": NoChatServer(ErrorCode.UNSPECIFIED, "another kind"),
    "unauthenticated": CallError(ErrorCode.UNAUTHENTICATED, "who?"),
    "expired": CallError(ErrorCode.TOKEN_EXPIRED, "too late", retryable=True),
}
FINAL = ("unauthenticated", "expired")


class Server(NamedTuple):
    """How long it takes to connect to it, for ever if that is None; what it says then, and after how long."""

    connects_s: float | None
    answer: Answer = "in"
    answers_s: float = 0.0


class Channel:
    """A channel to it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.is_open = True
        self._state = grpc.ChannelConnectivity.IDLE
        self._changed = asyncio.Event()

    def get_state(self, try_to_connect: bool) -> grpc.ChannelConnectivity:
        """As gRPC's."""
        if self._state is grpc.ChannelConnectivity.IDLE and try_to_connect:
            self._state = grpc.ChannelConnectivity.CONNECTING
            if self.server.connects_s is not None:
                asyncio.get_running_loop().call_later(self.server.connects_s, self._decide)
        return self._state

    async def wait_for_state_change(self, last: grpc.ChannelConnectivity) -> None:
        """As gRPC's."""
        while self._state is last:
            await self._changed.wait()

    async def close(self) -> None:
        """As gRPC's."""
        self.is_open = False

    def _decide(self) -> None:
        self._state = FAILED if self.server.answer == "refused" else READY
        self._changed.set()


class World:
    """Some servers, and what an attempt does with them."""

    def __init__(self, servers: list[Server]) -> None:
        self.addresses = [Address(f"s{n}:1") for n in range(len(servers))]
        self.servers = dict(zip(self.addresses, servers, strict=True))
        self.channels: dict[Address, Channel] = {}
        self.entered: list[Address] = []
        self.calls = 0
        self.put_last: dict[Address, float] = {}
        self.took_s = 0.0

    async def attempt(self) -> Address:
        """Make it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        attempt = Attempt(self.addresses, self.open, self.put_last.__setitem__, TIMEOUT_S)
        try:
            return await attempt.enter(self.enter)
        finally:
            self.took_s = loop.time() - began

    def open(self, address: Address) -> Any:
        """Open a channel, once."""
        assert address not in self.channels
        fork.opened()
        channel = self.channels[address] = Channel(self.servers[address])
        return channel

    async def enter(self, address: Address, channel: Any) -> Address:
        """Call a server, as the only one; a single one need not be connected."""
        assert channel is self.channels[address]
        assert not self.calls
        self.entered.append(address)
        self.calls += 1
        try:
            server = self.servers[address]
            if len(self.servers) == 1:
                if server.connects_s is None:
                    await asyncio.sleep(TIMEOUT_S)  # in virtual time
                    raise ConnectionLost("no answer")
                await asyncio.sleep(server.connects_s)  # in virtual time
            await asyncio.sleep(server.answers_s)  # in virtual time
            if server.answer != "in":
                raise ERRORS[server.answer]
            return address
        finally:
            self.calls -= 1

    @property
    def open_channels(self) -> list[Address]:
        """Those that are."""
        return [address for address, channel in self.channels.items() if channel.is_open]


def s(n: int) -> Address:
    """The nth server."""
    return Address(f"s{n}:1")


@in_virtual_time
async def test_the_first_that_works_is_entered_and_no_other_connected_to() -> None:
    """As long as it answers soon."""
    world = World([Server(0.4), Server(0.0)])
    assert await world.attempt() == s(0)
    assert list(world.channels) == world.open_channels == [s(0)]
    assert world.put_last == {}
    fork.closed()


@in_virtual_time
async def test_one_that_is_silent_costs_half_a_second() -> None:
    """And each further one as much; they are tried last from now on."""
    world = World([Server(None), Server(None), Server(0.1), Server(0.0)])
    assert await world.attempt() == s(2)
    assert world.took_s == pytest.approx(2 * HEAD_START_S + 0.1)
    assert world.open_channels == [s(2)]
    assert list(world.put_last) == [s(0), s(1)]
    fork.closed()


@in_virtual_time
async def test_one_that_refuses_costs_nothing() -> None:
    """Nor one that has no room, or is of another kind."""
    world = World([Server(0.0, "refused"), Server(0.0, "full"), Server(0.0, "stranger"), Server(0.0)])
    assert await world.attempt() == s(3)
    assert world.took_s == 0
    assert world.put_last == {s(0): 0.0, s(1): 3.0, s(2): 0.0}
    fork.closed()


@in_virtual_time
async def test_one_that_is_slow_may_still_be_the_first() -> None:
    """Both are connected to; the call is one."""
    world = World([Server(0.6), Server(1.0)])
    assert await world.attempt() == s(0)
    assert world.entered == [s(0)]
    assert world.open_channels == [s(0)]
    fork.closed()


@in_virtual_time
async def test_an_answer_that_holds_for_all_ends_it() -> None:
    """Who is not let in by one is not let in by any, and must not knock at all doors with a wrong token."""
    for answer in FINAL:
        world = World([Server(0.0, "refused"), Server(0.0, answer), Server(0.0)])  # type: ignore[arg-type]
        with pytest.raises(CallError) as caught:
            await world.attempt()
        assert caught.value is ERRORS[answer]
        assert world.entered == [s(0), s(1)]
        assert not world.open_channels


@in_virtual_time
async def test_where_all_fail_each_is_named_with_its_reason() -> None:
    """The code is that of the last that answered; the pause is that of the one that asked for the least."""
    world = World([Server(0.0, "full"), Server(0.0, "refused"), Server(None)])
    with pytest.raises(CallError) as caught:
        await world.attempt()
    error = caught.value
    assert str(error) == "s1:1: refused; no answer from s2:1 within 10 s; s0:1: full (SERVER_FULL)"
    assert (error.code, error.retryable, error.retry_after_s) == (ErrorCode.SERVER_FULL, True, 0.0)
    world = World([Server(0.0, "refused")] * 12)
    with pytest.raises(ConnectionLost, match=r"^s0:1: refused; .*s6:1: refused; 4 more; s11:1: refused$"):
        await world.attempt()
    world = World([Server(0.0, "stranger")] * 2)
    with pytest.raises(CallError) as caught:
        await world.attempt()
    assert not caught.value.retryable


@in_virtual_time
async def test_giving_up_closes_everything() -> None:
    """While one is called and others are being connected to."""
    world = World([Server(None), Server(0.0, "in", 60.0), Server(None)])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5.0):
            await world.attempt()
    assert world.entered == [s(1)]
    assert not world.open_channels


SERVERS = st.builds(
    Server,
    st.none() | st.sampled_from([0.0, 0.1, 0.6, 3.0, 9.0, 11.0]),
    st.sampled_from(["in", "refused", "full", "stranger", "unauthenticated", "expired"]),
    st.sampled_from([0.0, 0.2, 4.0]),
)


@given(st.lists(SERVERS, min_size=1, max_size=7))
@in_virtual_time
async def test_one_that_lets_us_in_is_found(servers: list[Server]) -> None:
    """Unless one says that none will; each is tried once at most, there is one call, and in bounded time."""
    before = fork._connections
    world = World(servers)
    error: BcastError | None = None
    found: Address | None = None
    try:
        found = await world.attempt()
    except BcastError as caught:
        error = caught
    single = len(servers) == 1
    reachable = [each for each in servers if each.connects_s is not None and (single or each.connects_s < TIMEOUT_S)]
    if found:
        assert world.servers[found].answer == "in"
        assert world.open_channels == [found]
        fork.closed()
    elif error in [ERRORS[answer] for answer in FINAL]:
        assert any(each.answer in FINAL for each in reachable)
    else:
        assert not any(each.answer in ("in", *FINAL) for each in reachable)
        assert len(world.channels) == len(servers)
        assert all(str(address) in str(error) for address in world.addresses) or single
    assert fork._connections == before
    assert len(world.entered) == len(set(world.entered))
    assert set(world.open_channels) == ({found} if found else set())
    assert world.took_s <= len(servers) * (HEAD_START_S + 4.0) + max(TIMEOUT_S, 11.0) + 4.0
    assert len(asyncio.all_tasks()) <= 1 + len(servers)
