"""Turns and portions: small pieces of work leave room for all else in between, and one that fails stops no other."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bcast_grpc.transport import turns
from bcast_grpc.transport.portions import Portions
from bcast_grpc.transport.turns import Turns
from tests.integration.peers import within


async def test_small_work_is_done_in_order_and_in_many_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One at a time where each takes a millisecond, and whatever one of them raises."""
    monkeypatch.setattr(turns, "_BUDGET_S", 1e-9)
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
        shared.soon(lambda number=number: work(number))  # type: ignore[misc]
    while len(done) < 10:
        passes.append(len(done))
        await asyncio.sleep(0)
    assert done == list(range(10))
    assert len(set(passes)) > 5
    assert raised == [fault]


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
        shared.call(turn)
    await within(asyncio.gather(second, third))
    assert raised == [fault, fault]


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
