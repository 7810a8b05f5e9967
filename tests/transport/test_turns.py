"""Turns: small pieces of work, thousands at once, leave room for all else in between."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bcast_grpc.transport import turns
from bcast_grpc.transport.turns import Turns


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
