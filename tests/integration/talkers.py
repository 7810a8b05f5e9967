"""Clients that speak all the time while servers come and go, and what must be true of what they have heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import bcast_grpc
from bcast_grpc import Chat, Kind

from .peers import eventually

_MORE = 5


class Talker:
    """A chat that speaks all the time, and what it has heard of the others."""

    def __init__(self, chat: Chat, name: str) -> None:
        self.name = name
        self.heard: list[str] = []
        self.places: list[int] = []
        self.gaps = 0
        self.said = 0
        self.ended: list[str] = []
        self._chat = chat
        self._ends = asyncio.Event()

    async def speak(self) -> None:
        """Say one thing after the other, until told to stop; each is acknowledged once."""
        while not self._ends.is_set():
            await self._chat.send(str(self.said))
            self.said += 1
            await asyncio.sleep(0.01)  # the pace

    async def listen(self, others: int) -> None:
        """Hear everything that the others say, until they have ended."""
        async for event in self._chat:
            self.gaps += event.kind is Kind.GAP
            if event.kind is Kind.MESSAGE:
                self.places.append(event.seq)
                (self.ended if event.text == "end" else self.heard).append(event.message)
            if len(self.ended) == others:
                return

    async def end(self) -> None:
        """Say the last thing."""
        await self._chat.send("end")

    def stop(self) -> None:
        """Say no more."""
        self._ends.set()


@asynccontextmanager
async def talker(targets: Sequence[str], name: str) -> AsyncIterator[Talker]:
    """Connect one, which goes on at another target when it loses its server."""
    async with bcast_grpc.connect(targets, name=name, first_retry_s=0.01, max_downtime_s=120) as chat:
        yield Talker(chat, name)


@asynccontextmanager
async def conversation(talkers: Sequence[Talker]) -> AsyncIterator[None]:
    """Have all of them speak and listen; at the end each hears what is still to come."""
    async with asyncio.TaskGroup() as tasks:
        speaking = [tasks.create_task(one.speak()) for one in talkers]
        for one in talkers:
            tasks.create_task(one.listen(len(talkers) - 1))
        yield
        for one in talkers:
            one.stop()
        await asyncio.gather(*speaking)
        for one in talkers:
            await one.end()


async def more(talkers: Sequence[Talker]) -> None:
    """Wait until each has said some more."""
    enough = [one.said + _MORE for one in talkers]
    await eventually(lambda: all(one.said > least for one, least in zip(talkers, enough, strict=True)), every_s=0.05)


def check(talkers: Sequence[Talker]) -> None:
    """Check that nobody missed anything, and nobody heard anything twice or in another order."""
    for one in talkers:
        assert not one.gaps
        assert one.places == sorted(set(one.places))
        assert len(one.heard) == len(set(one.heard))
        for other in talkers:
            if other is not one:
                theirs = [text for text in one.heard if text.startswith(f"{other.name}: ")]
                assert theirs == [f"{other.name}: {n}" for n in range(other.said)]
