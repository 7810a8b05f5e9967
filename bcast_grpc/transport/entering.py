"""Admits the clients of doors that serve each in a task."""

from __future__ import annotations

from bcast_grpc.core.admission import Admission
from bcast_grpc.core.entrance import Admitting, settled
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.hub import Hub
from bcast_grpc.core.identity import Caller
from bcast_grpc.transport.scheduler import LoopScheduler


async def admit(
    hub: Hub, scheduler: LoopScheduler, hello: Hello, caller: Caller, *, publishing: bool = False
) -> Admission:
    """Admit a client as ``Entrance.admit`` does, when it is its turn: tokens take time, and many may come at once."""
    found: list[Admitting] = []

    def begin() -> None:
        found.append(hub.entrance.begin(hello, caller, publishing=publishing))

    try:
        await scheduler.do(caller.peer, begin)
    except BaseException:
        for admission in found:  # this was cancelled just after
            if isinstance(admission, Admission):
                admission.release()
        raise
    return await settled(found[0])
