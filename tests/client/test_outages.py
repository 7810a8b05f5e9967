"""Whatever happens to the connection: each message arrives once and in order."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bcast_grpc
from bcast_grpc import Chat, Event, Gap, GapReason, Kind

from .fake import FULL, FakeServer
from .lost import connect

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("nothing_left")]


class World:
    """A chat and its server, and what is known of both by the simplest means."""

    def __init__(self, server: FakeServer, chat: Chat) -> None:
        self.server = server
        self.chat = chat
        self.said: list[str] = []
        self.heard: list[Event] = []
        self.others: list[tuple[str, int]] = []
        self.sending: list[asyncio.Task[bcast_grpc.Ack]] = []

    async def step(self, step: str) -> None:
        """Let something happen."""
        server = self.server
        match step:
            case "post":
                self.said.append(str(len(self.said)))
                self.chat.post(self.said[-1])
            case "send":
                self.said.append(str(len(self.said)))
                self.sending.append(asyncio.create_task(self.chat.send(self.said[-1])))
                await asyncio.sleep(0)
            case "hear":
                seq = server.say(f"{server.epoch} {len(server.log) + 1}")
                self.others.append((server.epoch, seq))
            case "drop":
                server.drop()
            case "before":
                server.drop_before += 1
            case "after":
                server.drop_after += 1
            case "away" if "," in server.target and not server.away_calls:  # a second time it would be an error
                server.away_calls = len(server.calls)
            case "refuse":
                server.refusals.append(FULL)
            case "trim":
                server.trim()
            case "restart" | "anew":
                await server.stop()
                if step == "anew":
                    server.begin_anew()
                await server.start()
            case "turn":
                await self.chat.members()

    async def listen(self) -> None:
        """Hear everything."""
        async for event in self.chat:
            self.heard.append(event)

    def check(self) -> None:
        """Each message once and in order, or a gap."""
        logs = [[int(entry.event.text) for entry in log if entry.client] for log in self.server.logs.values()]
        for log in logs:
            assert log == sorted(set(log))
        assert {number for log in logs for number in log} == set(range(len(self.said)))
        if len(logs) == 1:
            assert logs[0] == list(range(len(self.said)))
        heard = [event.text for event in self.heard if event.kind is Kind.MESSAGE]
        gaps = [event.detail for event in self.heard if isinstance(event.detail, Gap)]
        told = [f"{epoch} {seq}" for epoch, seq in self.others]
        assert heard == [text for text in told if text in set(heard)]
        for epoch, seq in self.others:
            if f"{epoch} {seq}" not in heard:
                assert any(self.covers(gap, epoch, seq) for gap in gaps), (epoch, seq, gaps)

    def covers(self, gap: Gap, epoch: str, seq: int) -> bool:
        """Whether a gap tells of a message."""
        if gap.reason is GapReason.UNSPECIFIED:  # lost before there was a place to go on from: any may be missing
            return True
        if gap.reason is GapReason.NEW_EPOCH:
            return epoch != self.server.epoch or seq < self.server.kept_from
        return gap.first_missed <= seq <= gap.last_missed


FAULTS = ["drop", "before", "after", "refuse", "trim", "restart", "away"]
STEPS = ["post", "post", "send", "hear", "hear", "hear", "turn", *FAULTS]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([*STEPS, "anew"]), max_size=30), st.sampled_from([1, 1, 3]))
async def test_each_message_arrives_once_and_in_order_whatever_happens(steps: list[str], doors: int) -> None:
    """Or a gap tells of it: with lost connections before and after an acknowledgement, refusals and restarts.

    One server or several that share the room.
    """
    async with FakeServer(doors) as server, connect(server) as chat:
        world = World(server, chat)
        listening = asyncio.create_task(world.listen())
        for step in steps:
            await world.step(step)
        await chat.flush()
        await asyncio.gather(*world.sending)
        await chat.members()
        await chat.leave()
        await listening
        world.check()
