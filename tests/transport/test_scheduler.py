"""The loop as the core sees it: callbacks come from its own thread, whoever asked for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from bcast_grpc.transport.scheduler import LoopScheduler

from .virtual import in_virtual_time, pass_time


class Calls:
    """Callbacks, and the threads they came from."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.made = asyncio.Event()

    def __call__(self) -> None:
        """Be called back."""
        self.threads.append(threading.get_ident())
        self.made.set()


@in_virtual_time
async def test_time_is_the_loops() -> None:
    """The core measures rounds and rates by it."""
    scheduler = LoopScheduler()
    began = scheduler.time()
    await pass_time(3)
    assert scheduler.time() - began == pytest.approx(3)
    assert scheduler.time() == asyncio.get_running_loop().time()


@in_virtual_time
async def test_call_is_at_once_in_the_loops_thread() -> None:
    """A wake from the loop costs no detour."""
    calls = Calls()
    LoopScheduler().call(calls)
    assert calls.threads == [threading.get_ident()]


@in_virtual_time
async def test_call_soon_is_never_at_once() -> None:
    """Whoever asks may hold a lock."""
    calls = Calls()
    LoopScheduler().call_soon(calls)
    assert calls.threads == []
    await calls.made.wait()
    assert calls.threads == [threading.get_ident()]


@pytest.mark.parametrize("way", ["call", "call_soon"])
@in_virtual_time
async def test_from_another_thread_it_comes_to_the_loop(way: str) -> None:
    """A loop that is asleep is woken for it, and the callback comes from the loop's own thread."""
    calls = Calls()
    ask: Callable[[Callable[[], None]], None] = getattr(LoopScheduler(), way)
    thread = threading.Thread(target=ask, args=(calls,))
    thread.start()
    await calls.made.wait()
    thread.join()
    assert calls.threads == [threading.get_ident()]


@in_virtual_time
async def test_call_later_can_be_cancelled() -> None:
    """A timer comes when it is due, unless it was cancelled."""
    scheduler, kept, dropped = LoopScheduler(), Calls(), Calls()
    scheduler.call_later(1, kept)
    scheduler.call_later(1, dropped).cancel()
    await pass_time(0.9)
    assert kept.threads == []
    await pass_time(0.2)
    assert (len(kept.threads), dropped.threads) == (1, [])


def test_it_needs_a_running_loop() -> None:
    """There is no loop to guess."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        LoopScheduler()
