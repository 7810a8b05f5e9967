"""A client is pinged where the system does not tell whether it is there."""

from __future__ import annotations

from bcast_grpc.transport.grpc.heartbeat import Heartbeat

from .virtual import in_virtual_time, pass_time


@in_virtual_time
async def test_who_says_nothing_is_pinged_and_is_gone_then() -> None:
    """Within twice the interval."""
    said: list[str] = []
    Heartbeat(20, lambda: said.append("ping"), lambda: said.append("gone"))
    await pass_time(19)
    assert said == []
    await pass_time(22)
    assert said == ["ping", "gone"]


@in_virtual_time
async def test_who_answers_stays() -> None:
    """For ever."""
    said: list[str] = []

    def answer() -> None:
        said.append("ping")
        heartbeat.heard()

    heartbeat = Heartbeat(20, answer, lambda: said.append("gone"))
    await pass_time(1000)
    assert set(said) == {"ping"}
    heartbeat.stop()
    await pass_time(1000)
    assert len(said) == 50
