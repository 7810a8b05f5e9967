"""Delays senders while their room, the store, or the memory for ids is full."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bcast_grpc.core.hub import Hub
from bcast_grpc.core.room import Room

_HOLD_S = 0.5


class Intake:
    """Delays one sender while there is no room for its messages."""

    __slots__ = ("_budget", "_held_until", "_room", "_scheduler")

    def __init__(self, hub: Hub, room: Room) -> None:
        self._budget = hub.capacity.budget
        self._scheduler = hub.scheduler
        self._room = room
        self._held_until = 0.0

    @property
    def congested(self) -> bool:
        """Whether the next messages should wait."""
        return self._room.congested or (self._held_until > 0 and self._held_until > self._scheduler.time())

    def when_clear(self, callback: Callable[[], None]) -> None:
        """Call back once, from the scheduler's loop, when it is time to check ``congested`` again."""
        if self._room.congested:
            self._room.when_flushed(callback)
        else:
            self._scheduler.call_later(max(0.0, self._held_until - self._scheduler.time()), callback)

    def hold(self, ids: Iterable[str]) -> None:
        """Delay the sender a little if the memory for ids is almost full, and its messages have some.

        If it sends more ids nevertheless, the broker refuses them.
        """
        if self._budget.ids_near_full and any(ids):
            self._held_until = self._scheduler.time() + _HOLD_S
