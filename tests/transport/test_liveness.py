"""Connections are watched: those of dead peers are aborted in time, others never, and idle ones cost little."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.transport.liveness import Keepalive
from bcast_grpc.transport.tcp_info import Heard

from .virtual import VirtualLoop, in_virtual_time, pass_time

KEEPALIVE_S = 20.0
LONG_S = 8 * KEEPALIVE_S
SLOWEST_BYTES_S = 8000
PING_BYTES = 17


@dataclass
class Peer:
    """A connection as the server sees it, with a peer behind a line of that delay.

    Attributes:
        dies_at: nothing comes from it after that.
        relayed: whether a proxy acknowledges for it, and passes on at the slowest rate.
        looks: how often the system was asked about it.
        tell: called when an answer to a ping has come.
    """

    delay_s: float = 0.05
    dies_at: float = float("inf")
    relayed: bool = False
    looks: int = 0
    pings: int = 0
    aborted_at: float | None = None
    tell: Callable[[], None] = lambda: None
    _writes: list[tuple[float, int]] = field(default_factory=list)
    _said: list[float] = field(default_factory=lambda: [0.0])
    _passed_on_at: float = 0.0

    def write(self, size: int) -> None:
        """Have the server send something."""
        now = _now()
        self._writes.append((now, size))
        self._passed_on_at = max(self._passed_on_at, now) + (size / SLOWEST_BYTES_S if self.relayed else 0)

    def say(self) -> None:
        """Have the peer send something."""
        self._said.append(_now() + self.delay_s)

    def ping(self) -> None:
        """Have the peer answer, once all before that has come to it."""
        self.pings += 1
        self.write(PING_BYTES)
        answer_at = self._passed_on_at + self.delay_s
        self._said.append(answer_at)
        if answer_at <= self.dies_at:
            asyncio.get_running_loop().call_at(answer_at, self.tell)

    def heard(self) -> Heard:
        """What the system knows."""
        self.looks += 1
        now = _now()
        last = min(now, self.dies_at)
        data_at = max(at for at in self._said if at <= last)
        acks = [(at + self.delay_s, size) for at, size in self._writes if at + self.delay_s <= last]
        unread = len(acks) < len(self._writes)
        ack_at = max([data_at, *(at for at, _ in acks)])
        received = sum(PING_BYTES for at in self._said if at <= last)
        return Heard(now - data_at, now - ack_at, sum(size for _, size in acks), received, unread, unread)

    def abort(self) -> None:
        """Be given up."""
        self.aborted_at = self.aborted_at or _now()

    def is_closing(self) -> bool:
        """Whether it was given up."""
        return self.aborted_at is not None

    def get_write_buffer_size(self) -> int:
        """All is handed to the system."""
        return 0

    def get_extra_info(self, _name: str) -> Any:
        """Nobody's address."""
        return None

    def set_write_buffer_limits(self, *, high: int) -> None:
        """Writers wait beyond that."""


def _pass_at_once(seconds: float) -> None:
    """Let nothing else happen meanwhile."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.be_busy(seconds)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _live(
    peer: Peer, writes: Sequence[tuple[float, int]], says: Sequence[float], *, pings: bool, tells: bool, busy_s: float
) -> None:
    """Let much time pass."""
    keepalive = Keepalive(KEEPALIVE_S)
    liveness = keepalive.watch(cast("asyncio.Transport", peer), peer.ping if pings else None)
    if tells:
        peer.tell = liveness.answered
    loop = asyncio.get_running_loop()
    for at, size in writes:
        loop.call_at(at, peer.write, size)
    for at in says:
        loop.call_at(at, peer.say)
    for n in range(int(LONG_S / busy_s) if busy_s else 0):
        loop.call_at(n * busy_s, _pass_at_once, busy_s)
    await pass_time(LONG_S)
    liveness.stop()


def _run(
    peer: Peer,
    writes: Sequence[tuple[float, int]] = (),
    says: Sequence[float] = (),
    pings: bool = True,
    tells: bool = True,
    busy_s: float = 0,
) -> Peer:
    with (
        patch("bcast_grpc.transport.liveness.ask_system", lambda peer: peer.heard()),
        patch("bcast_grpc.transport.liveness.set_user_timeout", lambda *_: None),
        patch("bcast_grpc.transport.liveness.INHERITED", True),
        asyncio.Runner(loop_factory=VirtualLoop) as runner,
    ):
        runner.run(_live(peer, writes, says, pings=pings, tells=tells, busy_s=busy_s))
    return peer


TIMES = st.floats(0, LONG_S)
DELAYS = st.floats(0.001, 2)


@given(
    TIMES,
    DELAYS,
    st.lists(st.tuples(TIMES, st.integers(1, 400)), max_size=12),
    st.lists(TIMES, max_size=6),
    st.booleans(),
)
def test_a_dead_peer_is_given_up_within_twice_the_keepalive(
    dies_at: float, delay_s: float, writes: Sequence[tuple[float, int]], says: Sequence[float], tells: bool
) -> None:
    """Whatever was sent before and after, both ways; whether the door hears of answers to pings or not."""
    peer = _run(Peer(delay_s, dies_at), writes, says, tells=tells)
    latest = dies_at + 2 * KEEPALIVE_S
    assert peer.aborted_at is None or peer.aborted_at > dies_at
    assert latest > LONG_S or (peer.aborted_at or LONG_S) <= latest


@given(TIMES, DELAYS, st.floats(KEEPALIVE_S / 60, KEEPALIVE_S / 10))
def test_a_busy_server_finds_out_no_later(dies_at: float, delay_s: float, busy_s: float) -> None:
    """Each pass of its loop takes longer than the checks are apart; there may be one more before each of the checks."""
    peer = _run(Peer(delay_s, dies_at), busy_s=busy_s)
    latest = dies_at + 2 * KEEPALIVE_S + 3 * busy_s
    assert peer.aborted_at is None or peer.aborted_at > dies_at
    assert latest > LONG_S or (peer.aborted_at or LONG_S) <= latest


@given(TIMES, DELAYS, st.lists(st.tuples(TIMES, st.integers(1, 400)), max_size=12))
def test_without_pings_what_is_not_acknowledged_tells(
    dies_at: float, delay_s: float, writes: Sequence[tuple[float, int]]
) -> None:
    """Of a peer that owes nothing the system finds out."""
    peer = _run(Peer(delay_s, dies_at), writes, pings=False)
    unanswered = [at for at, _ in writes if at + delay_s > dies_at]
    latest = min(unanswered, default=LONG_S) + 2 * KEEPALIVE_S
    assert latest > LONG_S or (peer.aborted_at or LONG_S) <= latest


@given(
    DELAYS,
    st.lists(st.tuples(TIMES, st.integers(1, 10**6)), max_size=12),
    st.lists(TIMES, max_size=6),
    st.booleans(),
    st.booleans(),
)
def test_a_live_peer_is_never_given_up(
    delay_s: float, writes: Sequence[tuple[float, int]], says: Sequence[float], pings: bool, tells: bool
) -> None:
    """However far it is."""
    assert _run(Peer(delay_s), writes, says, pings, tells).aborted_at is None


@given(TIMES, st.integers(1, round(SLOWEST_BYTES_S * KEEPALIVE_S)), st.booleans(), st.booleans())
def test_a_peer_behind_a_slow_proxy_is_never_given_up(at: float, size: int, again: bool, tells: bool) -> None:
    """The proxy has acknowledged what it still passes on, and the ping waits behind that."""
    writes = [(at, size), (at + 2 * KEEPALIVE_S, size)] if again else [(at, size)]
    assert _run(Peer(0.05, relayed=True), writes, tells=tells).aborted_at is None


@pytest.mark.parametrize(("tells", "looks"), [(True, 1), (False, 2)])
def test_an_idle_peer_is_looked_at_once_or_twice_for_each_ping(tells: bool, looks: int) -> None:
    """And pinged once in a keepalive: that the answer came is looked up only where the door does not tell."""
    peer = _run(Peer(), tells=tells)
    assert LONG_S / KEEPALIVE_S / 2 <= peer.pings <= LONG_S / KEEPALIVE_S
    assert peer.looks <= looks * peer.pings + 2


def test_a_peer_that_talks_is_not_pinged() -> None:
    """What it sends is a sign of life."""
    assert _run(Peer(), says=[at * KEEPALIVE_S / 2 for at in range(20)]).pings == 0


@in_virtual_time
async def test_many_are_looked_at_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that connected together are due together, and others have their turn in between."""
    in_passes = [0]

    def look(peer: Peer) -> Heard:
        if not in_passes[-1]:
            asyncio.get_running_loop().call_soon(in_passes.append, 0)
        in_passes[-1] += 1
        return peer.heard()

    monkeypatch.setattr("bcast_grpc.transport.liveness.ask_system", look)
    monkeypatch.setattr("bcast_grpc.transport.liveness.INHERITED", True)
    keepalive = Keepalive(KEEPALIVE_S)
    watched = [keepalive.watch(cast("asyncio.Transport", Peer())) for _ in range(1000)]
    await pass_time(1.5 * KEEPALIVE_S)
    assert sum(in_passes) == len(watched)
    assert max(in_passes) <= 64
    for liveness in watched:
        liveness.stop()


@in_virtual_time
async def test_nothing_is_left_of_what_is_not_watched_any_more() -> None:
    """Not even until it would have been due; and where nothing is watched, no timer runs."""
    keepalive = Keepalive(KEEPALIVE_S)
    liveness = keepalive.watch(cast("asyncio.Transport", Peer()))
    assert any(liveness in due for due in keepalive._due.values())
    liveness.stop()
    assert not any(keepalive._due.values())
    await pass_time(2 * KEEPALIVE_S)
    assert keepalive._timer is None
