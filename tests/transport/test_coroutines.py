"""Lines that coroutines write."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import cast

import pytest

from bcast_grpc.transport import coroutines
from bcast_grpc.transport import turns as sharing
from bcast_grpc.transport.coroutines import LONG_S, CoroutineLine
from bcast_grpc.transport.stream import Stream
from bcast_grpc.transport.turns import Turns


@pytest.mark.parametrize(("takes_s", "in_a_pass"), [(2 * LONG_S, 1), (0.6 * LONG_S, 2)])
async def test_long_writes_take_turns(takes_s: float, in_a_pass: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast their clients read, in each pass of the loop there is one of them, or some that are shorter."""
    now = 0.0
    monkeypatch.setattr(coroutines, "perf_counter", lambda: now)
    monkeypatch.setattr(sharing, "BUDGET_S", 1e-9)

    class History:
        """A stream with long pieces, each of which takes a while to encode."""

        left = 10

        @property
        def over(self) -> bool:
            """Whether that was all."""
            return not self.left

        def take(self) -> bytes | None:
            """Return the next piece."""
            nonlocal now
            if not self.left:
                return None
            now += takes_s
            self.left -= 1
            return bytes(20_000)

    async def write(_: bytes) -> None:
        """Write to a client that has room for all."""

    turns, histories = Turns(asyncio.get_running_loop()), [History() for _ in range(3)]
    lines = [CoroutineLine(turns, f"192.0.2.{number}:1") for number in range(3)]
    writing = asyncio.gather(
        *(line._write(cast("Stream", history), write) for line, history in zip(lines, histories, strict=True))
    )
    left = []
    while not writing.done():
        await asyncio.sleep(0)
        left.append(sum(history.left for history in histories))
    assert left[-1] == 0
    assert max(before - after for before, after in pairwise(left)) == in_a_pass
