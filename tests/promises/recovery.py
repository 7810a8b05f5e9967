"""What must become of a storm once nothing is broken any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.integration.peers import PATIENCE_S, SCALE

from .client import Caller
from .grpc_client import Reader, count_members
from .node import Node
from .publisher import Publisher
from .records import Came, Client, Place, Present, Room, Went

if TYPE_CHECKING:
    from .storm import Storm

_RECOVERY_S = 20 * SCALE
"""How long recovery may take after the last fault."""

_CLUSTER_RECOVERY_S = 60 * SCALE
"""The same where NATS has to recover first."""


class Recovery:
    """Everybody comes back, and gets what they must get.

    Args:
        storm: after its last fault. What is late is one of its violations.
    """

    def __init__(self, storm: Storm) -> None:
        self._storm = storm

    async def watch(self) -> None:
        """Wait until everybody is back, have one client send the last message in each room, and have some leave."""
        if guard := self._storm.guard:
            guard.calm = True
            await self._expect("to have a token that lasts", lambda c: c.lasting or isinstance(c, Publisher))
        await self._expect("to be here, with all acknowledged", lambda c: c.here and not c.unacknowledged)
        for room in self._storm.outcome.rooms:
            await self.say_last_words(room)
        await self._let_some_leave()

    async def _expect(self, what: str, true: Callable[[Caller], bool], room: str = "") -> None:
        """Wait until something is true of all who are present."""

        def late() -> list[Caller]:
            return [
                caller for caller in self._storm.callers if caller.room == (room or caller.room) and not true(caller)
            ]

        recovery_s = _CLUSTER_RECOVERY_S if self._storm.weather.replicas else _RECOVERY_S
        patience_s = recovery_s if not self._storm.outcome.violations else 1.0  # it is bad enough already
        if not await self._storm.bell.until(lambda: not late(), patience_s):
            self._storm.outcome.violations += [
                f"recovery: {caller.record.key} was {what} within {recovery_s} s, and is not" for caller in late()
            ]

    async def say_last_words(self, room: Room) -> None:
        """Have somebody say something that everybody must get, and somebody else read all that is kept."""
        speakers = [caller for caller in self._storm.callers if caller.room == room.name and caller.speaks]
        speaker = self._storm.chance.choice(speakers)
        text = speaker.say()
        await self._expect("to have its last words acknowledged", lambda c: not c.unacknowledged, room.name)
        if place := speaker.places.get(text):
            await self._expect("to get the last words", lambda c: c is speaker or c.has_come(place), room.name)
            await self._audit(room, place)

    async def _audit(self, room: Room, last: Place) -> None:
        """Have a new client read all that is kept of a room."""
        auditor = await self._storm.add(room, Reader, named=False)
        auditor.place = Place(last.epoch, 0)
        auditor.start()
        await self._expect("to have read what is kept", lambda c: c is not auditor or c.has_come(last), room.name)

    async def _let_some_leave(self) -> None:
        for index, caller in enumerate(self._storm.callers):
            if index % 3:
                continue
            caller.record.gone = True
            caller.record.stayed = False  # it has all up to the last words; what the lost have sent may come later
            if index % 2:
                caller.cable.cut()
                await caller.stop()
            else:
                await self._storm.let_leave(caller)
        named = [one for room in self._storm.outcome.rooms for one in room.clients if one.named]
        gone = {one.key for one in named if one.gone}
        await self._expect("to hear of all who left", lambda c: not _believed(c.record) & gone)
        there = {one.key for one in named if not one.gone}  # a server that was frozen is met anew, and its clients
        await self._expect("to hear of all who came back", lambda c: c.door == "tcp" or not _missed(c.record) & there)
        for caller in self._storm.callers:
            if late := _believed(caller.record) & gone:
                self._storm.outcome.violations.append(
                    f"recovery: {caller.record.key} heard nothing of {', '.join(late)}"
                )
        for room in self._storm.outcome.rooms:
            for number, node in enumerate(self._storm.nodes):
                await self._count_members(room, number, node)

    async def _count_members(self, room: Room, number: int, node: Node) -> None:
        """Have a client come to a server, which must know of everybody who is there, at all servers."""
        here = sum(caller.room == room.name and not isinstance(caller, Publisher) for caller in self._storm.callers) + 1
        until = time.monotonic() + PATIENCE_S
        while (count := await count_members(node.addresses["grpc"], room.name, self._storm.guard)) != here:
            if time.monotonic() > until:
                self._storm.outcome.violations.append(
                    f"{room.name} has {here} members, but {count} for server {number}"
                )
                return
            await asyncio.sleep(0.1)  # nobody tells when that changes


def _missed(client: Client) -> set[str]:
    """Return who has left according to what a client got last of each."""
    gone: set[str] = set()
    for step in client.visits[-1].steps if client.visits else ():
        match step:
            case Present(names):
                gone -= names
            case Came(name):
                gone.discard(name)
            case Went(name):
                gone.add(name)
    return gone


def _believed(client: Client) -> set[str]:
    """Return who is there according to what a client got since its last arrival."""
    here: set[str] = set()
    for step in client.visits[-1].steps if client.visits else ():
        match step:
            case Present(names):
                here |= names
            case Came(name):
                here.add(name)
            case Went(name):
                here.discard(name)
    return here
