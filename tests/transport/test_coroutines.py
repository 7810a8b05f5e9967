"""Lines that coroutines write."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import cast

import pytest

from bcast_grpc.transport import coroutines
from bcast_grpc.transport.coroutines import CoroutineLine
from bcast_grpc.transport.stream import Stream
from bcast_grpc.transport.turns import Turns


async def test_long_writes_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast their clients read, there is one in each pass of the loop."""
    now = 0.0
    monkeypatch.setattr(coroutines, "perf_counter", lambda: now)

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
            now += 0.002
            self.left -= 1
            return bytes(20_000)

    async def write(_: bytes) -> None:
        """Write to a client that has room for all."""

    turns, histories = Turns(asyncio.get_running_loop()), [History() for _ in range(3)]
    lines = [CoroutineLine(turns=turns, peer=f"192.0.2.{number}:1") for number in range(3)]
    writing = asyncio.gather(
        *(line._write(cast("Stream", history), write) for line, history in zip(lines, histories, strict=True))
    )
    left = []
    while not writing.done():
        await asyncio.sleep(0)
        left.append(sum(history.left for history in histories))
    assert left[-1] == 0
    assert max(before - after for before, after in pairwise(left)) == 1
