"""Sends clients away that have been connected for long, so that they spread over all servers again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from bcast_grpc.core import notices
from bcast_grpc.core.hub import Hub
from bcast_grpc.core.member import Member
from bcast_grpc.core.room import Room
from bcast_grpc.errors import CallError, ErrorCode

_JITTER = 0.1
_LONGEST_PAUSE_S = 1.0


class Ages:
    """Ends the calls of clients that have been connected for longer than they may.

    A client gets what is queued for it, then ``CLOSING``, as in a drain. Clients that came together go at different
    times.

    Args:
        hub: has the clients.
        age_s: how long they may be connected, more or less by a tenth.
        grace_s: how long they get to receive what is queued.
        clock: the time in seconds.
        chance: a random number from 0 to less than 1.
    """

    def __init__(
        self,
        hub: Hub,
        age_s: float,
        grace_s: float,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._hub = hub
        self._age_s = age_s
        self._grace_s = grace_s
        self._clock = clock
        self._chance = chance
        self._due_s: dict[Member, float] = {}
        self._leaving: dict[Member, float] = {}

    def look(self) -> None:
        """End the calls that are due. Ages count from the first look at a client on. Cost: O(clients)."""
        now_s = self._clock()
        due_s, leaving = self._due_s, self._leaving
        self._due_s, self._leaving = {}, {}

        def look_at(room: Room) -> None:
            for member in list(room.members.values()):
                if member in leaving:
                    self._wait_for(member, leaving[member], now_s)
                elif (due := due_s.get(member)) is None:
                    self._due_s[member] = now_s + self._age_s * (1 + _JITTER * (2 * self._chance() - 1))
                elif now_s < due:
                    self._due_s[member] = due
                else:
                    self._leaving[member] = now_s + self._grace_s
                    error = self._error()
                    room.leave(member, [notices.closing(error.reason, error.retry_after_s)], error)

        self._hub.for_each_room(look_at)

    def _wait_for(self, member: Member, until_s: float, now_s: float) -> None:
        self._leaving[member] = until_s
        if now_s >= until_s:
            member.outbox.close(self._error(), discard=True)

    def _error(self) -> CallError:
        reason = f"the connection is older than {self._age_s:g} s (max-connection-age-s)"
        after_s = round(_LONGEST_PAUSE_S * (0.1 + 0.9 * self._chance()), 3)
        return CallError(ErrorCode.SHUTTING_DOWN, reason, retry_after_s=after_s)
