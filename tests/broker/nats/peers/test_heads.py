"""Servers tell each other how far their logs are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from bcast_grpc.broker.nats.names import token
from bcast_grpc.broker.nats.peers.heads import Heads


def test_each_change_is_told_three_times() -> None:
    """A beat may get lost, and a quiet room's last record shows by nothing else."""
    log = SimpleNamespace(sequence=5, record="me-1", level=True)
    heads = Heads(cast(Any, {"room": SimpleNamespace(log=log)}), lambda: 1 << 20)

    def told() -> list[tuple[str, int, str]]:
        return [(head.room, head.sequence, head.record) for said in heads.beat() for head in said.heads.heads]

    assert [told() for _ in range(5)] == [[("room", 5, "me-1")]] * 3 + [[]] * 2
    log.sequence, log.record = 6, "me-2"
    assert [len(told()) for _ in range(5)] == [1, 1, 1, 0, 0]


def test_a_message_is_no_larger_than_nats_takes() -> None:
    """Many rooms with the longest names there are take several messages; each room is in one."""
    log = SimpleNamespace(sequence=2**63, record=f"{'f' * 12}-{2**63}", level=True)
    names = [token(f"{number:04}" + "\U0001f600" * 124) for number in range(300)]
    orders = cast(Any, {name: SimpleNamespace(log=log) for name in names})
    said = list(Heads(orders, lambda: 64 * 1024).beat())
    assert max(len(message.SerializeToString()) for message in said) <= 64 * 1024
    assert [head.room for message in said for head in message.heads.heads] == names
