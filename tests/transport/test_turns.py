"""Turns and portions: small pieces of work leave room for all else in between, and one that fails stops no other."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from bcast_grpc.transport import turns
from bcast_grpc.transport.one_by_one import OneByOne
from bcast_grpc.transport.portions import Portions
from bcast_grpc.transport.scheduler import LoopScheduler
from bcast_grpc.transport.turns import Turns
from tests.integration.peers import within


async def test_small_work_is_done_in_order_and_in_many_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One at a time where each takes a millisecond, and whatever one of them raises."""
    monkeypatch.setattr(turns, "BUDGET_S", 1e-9)
    loop = asyncio.get_running_loop()
    raised: list[Any] = []
    loop.set_exception_handler(lambda _, context: raised.append(context["exception"]))
    shared, done, passes = Turns(loop), [], []
    fault = ValueError("one fails")

    def work(number: int) -> None:
        done.append(number)
        if number == 3:
            raise fault

    for number in range(10):
        shared.soon("", lambda number=number: work(number))  # type: ignore[misc]
    while len(done) < 10:
        passes.append(len(done))
        await asyncio.sleep(0)
    assert done == list(range(10))
    assert len(set(passes)) > 5
    assert raised == [fault]


async def test_reading_without_end_leaves_room_for_small_work() -> None:
    """Clients come in while others keep reading busy."""
    shared, done = Turns(asyncio.get_running_loop()), asyncio.Event()

    def read() -> bool:
        if not done.is_set():
            shared.worked(1.0)
            shared.call("", read)
        return True

    shared.call("", read)
    await asyncio.sleep(0)
    assert shared.used_up
    shared.soon("", done.set)
    await within(done.wait())


async def test_an_error_in_one_turn_does_not_stop_the_others() -> None:
    """They get theirs, though nothing else happens that would set them going."""
    loop = asyncio.get_running_loop()
    raised: list[Any] = []
    loop.set_exception_handler(lambda _, context: raised.append(context["exception"]))
    shared, fault = Turns(loop), ValueError("one fails")
    second, third = loop.create_future(), loop.create_future()

    def fail() -> bool:
        raise fault

    def take(turn: asyncio.Future[None]) -> bool:
        turn.set_result(None)
        return True

    for turn in (fail, lambda: take(second), fail, lambda: take(third)):
        shared.call("", turn)
    await within(asyncio.gather(second, third))
    assert raised == [fault, fault]


@pytest.mark.parametrize(("several", "passes"), [(False, [1, 1, 1, 1, 1]), (True, [3, 2, 0, 0, 0])])
async def test_several_have_a_turn_in_a_pass_where_that_is_wanted(*, several: bool, passes: list[int]) -> None:
    """As many as there is time for."""
    shared, done = Turns(asyncio.get_running_loop(), several=lambda: several), list[int]()

    def work(number: int) -> bool:
        shared.worked(0.4 * turns.BUDGET_S)
        done.append(number)
        return True

    for number in range(5):
        shared.call("", partial(work, number))
    found = []
    for _ in passes:
        before = len(done)
        await asyncio.sleep(0)
        found.append(len(done) - before)
    assert (found, done) == (passes, [0, 1, 2, 3, 4])


async def test_the_turn_of_a_coroutine_is_the_last_of_its_pass() -> None:
    """It goes on after that, and nobody knows yet how long it takes."""
    shared, passes = Turns(asyncio.get_running_loop(), several=lambda: True), list[int]()
    now = 0

    async def go_on() -> None:
        await shared.take("")
        passes.append(now)

    tasks = [asyncio.create_task(go_on()) for _ in range(10)]
    shared.worked(turns.BUDGET_S)
    while not all(task.done() for task in tasks):
        now += 1
        await asyncio.sleep(0)
    assert len(set(passes)) == 10


async def test_who_reads_does_not_wait_for_those_who_write_much() -> None:
    """Neither for a turn, nor for a pass each."""
    scheduler = LoopScheduler()
    writes, reads, read = scheduler.writes, scheduler.turns, list[int]()

    def write() -> bool:
        writes.worked(turns.BUDGET_S)
        writes.call("", write)
        return True

    writes.call("", write)
    await asyncio.sleep(0)
    assert writes.scarce
    assert not reads.scarce
    for number in range(10):
        reads.call("", lambda number=number: not read.append(number))  # type: ignore[misc,func-returns-value]
    await asyncio.sleep(0)
    assert read == list(range(10))


async def test_an_error_of_one_connection_does_not_stop_the_others() -> None:
    """They are fed."""
    loop = asyncio.get_running_loop()
    raised: list[Any] = []
    loop.set_exception_handler(lambda _, context: raised.append(context["exception"]))
    portions, fault, fed = Portions(loop), ValueError("one fails"), loop.create_future()

    class Broken:
        def feed(self) -> None:
            raise fault

    class Sound:
        def feed(self) -> None:
            fed.set_result(None)

    portions.ask(Broken())
    portions.ask(Sound())
    await within(fed)
    assert raised == [fault]


PEERS = ["10.0.0.1:1"] * 50 + ["10.0.0.1:2"] * 50 + ["10.0.0.1:3", "10.0.0.2:1", "ipv6:[2001:db8::1]:1"] * 2
FAIR = [
    *("10.0.0.1:1", "10.0.0.2:1", "ipv6:[2001:db8::1]:1"),
    *("10.0.0.1:2", "10.0.0.2:1", "ipv6:[2001:db8::1]:1"),
    *("10.0.0.1:3", "10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3", "10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:1"),
]
"""The beginning of the order in which they have their turns: addresses, and the connections of each."""


async def test_whoever_asks_for_much_waits_behind_itself() -> None:
    """For a turn, for small work, and for a turn of coroutines: an address and a connection with little go on soon."""
    loop = asyncio.get_running_loop()
    shared, queue = Turns(loop), OneByOne(loop)
    called, worked, resumed = list[str](), list[str](), list[str]()

    def take(peer: str) -> bool:
        called.append(peer)
        return True

    async def go_on(peer: str) -> None:
        await queue.turn(peer)
        resumed.append(peer)

    tasks = [asyncio.create_task(go_on(peer)) for peer in PEERS[:1] + PEERS]  # the first one need not wait
    for peer in PEERS:
        shared.call(peer, partial(take, peer))
        shared.soon(peer, partial(worked.append, peer))
    await within(asyncio.gather(*tasks))
    for order in (called, worked, resumed[1:]):
        assert order[: len(FAIR)] == FAIR
        assert sorted(order) == sorted(PEERS)


async def test_work_that_is_no_longer_needed_takes_no_turn() -> None:
    """That of coroutines that were cancelled: the next one's is done in the same pass."""
    shared, done = Turns(asyncio.get_running_loop()), list[int]()
    shared.soon("", lambda: shared.worked(1.0))
    tasks = [asyncio.create_task(shared.do("", partial(done.append, number))) for number in range(10)]
    await asyncio.sleep(0)
    for task in tasks[:9]:
        task.cancel()
    await asyncio.wait(tasks)
    assert done == [9]


async def test_coroutines_go_on_one_in_each_pass() -> None:
    """In the order in which they came; one that is cancelled takes no turn."""
    queue, passes, order = OneByOne(asyncio.get_running_loop()), [], []
    now = 0

    async def go_on(number: int) -> None:
        await queue.turn("")
        passes.append(now)
        order.append(number)

    tasks = [asyncio.create_task(go_on(number)) for number in range(10)]
    await asyncio.sleep(0)
    tasks[5].cancel()
    while not all(task.done() for task in tasks):
        now += 1
        await asyncio.sleep(0)
    assert order == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert len(set(passes)) == 9
