"""Servers tell each other how far their logs are."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

from bcast_grpc.broker.nats.heads import Heads
from bcast_grpc.broker.nats.stream import token


def test_each_change_is_told_three_times() -> None:
    """A beat may get lost, and a quiet room's last record shows by nothing else."""
    log = SimpleNamespace(sequence=5, record="me-1", level=True)
    orders = cast(Any, {"room": SimpleNamespace(log=log)})
    heads = Heads("me", "heads", cast(Any, None), orders)
    assert [heads._changed() for _ in range(5)] == [[("room", (5, "me-1"))]] * 3 + [[]] * 2
    log.sequence, log.record = 6, "me-2"
    assert [len(heads._changed()) for _ in range(5)] == [1, 1, 1, 0, 0]


async def test_a_beat_is_no_larger_than_nats_takes() -> None:
    """Many rooms with the longest names there are take several messages; each room is in one."""
    sent: list[bytes] = []

    async def publish(_: str, data: bytes) -> None:
        sent.append(data)

    log = SimpleNamespace(sequence=2**63, record=f"{'f' * 12}-{2**63}", level=True)
    names = [token(f"{number:04}" + "\U0001f600" * 124) for number in range(300)]
    orders = cast(Any, {name: SimpleNamespace(log=log) for name in names})
    heads = Heads("f" * 12, "heads", cast(Any, SimpleNamespace(max_bytes=64 * 1024, publish=publish)), orders)
    await heads._beat()
    assert max(map(len, sent)) <= 64 * 1024
    assert [name for data in sent for name in json.loads(data)["heads"]] == names
