"""Servers tell each other how far their logs are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from bcast_grpc.broker.nats.heads import Heads


def test_each_change_is_told_three_times() -> None:
    """A beat may get lost, and a quiet room's last record shows by nothing else."""
    log = SimpleNamespace(sequence=5, record="me-1", level=True)
    orders = cast(Any, {"room": SimpleNamespace(log=log)})
    heads = Heads("me", "heads", cast(Any, None), orders)
    assert [heads._changed() for _ in range(5)] == [[("room", (5, "me-1"))]] * 3 + [[]] * 2
    log.sequence, log.record = 6, "me-2"
    assert [len(heads._changed()) for _ in range(5)] == [1, 1, 1, 0, 0]
