"""Sessions and publishers in any thread, beside clients that are connected."""

from __future__ import annotations

import asyncio
import threading

from bcast_grpc.core.batch import Encoder
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.identity import Caller
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.core.session import Session
from bcast_grpc.events import Request
from bcast_grpc.wire import protobuf

from .conftest import LocalDoor
from .peers import PATIENCE_S


async def test_publishing_from_another_thread(door: LocalDoor) -> None:
    """An application publishes into the hub from its own threads; clients get it in the one order, acks come back."""
    ana, bob = await door.connect(), await door.connect(batch="1")
    hub = door.server.hub
    acks: list[int] = []

    def work(name: str) -> None:
        for n in range(200):
            acknowledged = threading.Event()
            admission = asyncio.run(hub.entrance.admit(Hello(name=name), Caller(name)))
            publisher = Publisher(admission, answer=lambda _, done=acknowledged: done.set())  # type: ignore[misc]
            publisher.publish(Request(msg=f"{n}"))
            assert acknowledged.wait(PATIENCE_S)
            publisher.close()
            acks.append(n)

    await asyncio.gather(*(asyncio.to_thread(work, name) for name in ("one", "two", "three")))
    await ana.say("the end")
    events = await bob.hear_until("the end")
    assert len(acks) == len(events) == 600
    assert [event.seq for event in events] == list(range(1, 601))
    for name in ("one", "two", "three"):
        assert [event.message for event in events if event.sender == name] == [f"{name}: {n}" for n in range(200)]


async def test_coming_and_going_in_another_thread(door: LocalDoor) -> None:
    """Sessions may come, speak and leave in any thread, while clients are connected and speak too."""
    ana = await door.connect(events="all", batch="1")
    hub = door.server.hub
    encoder = Encoder(protobuf.encode_batches, protobuf.MAX_BATCH_BYTES)

    def work(name: str) -> None:
        for n in range(50):
            session = Session(
                asyncio.run(hub.entrance.admit(Hello(name=name), Caller(name))), encoder, wake=lambda: None
            )
            session.handle([Request(msg=f"{n}"), Request("who")])
            session.close()

    working = asyncio.gather(*(asyncio.to_thread(work, name) for name in ("one", "two")))
    while not working.done():
        await ana.say("hola", id="1")
        await ana.answer("1")
    await working
    await door.publish("the end")
    await ana.hear_until("the end")
    for name in ("one", "two"):
        told = [event.message for event in ana.heard if event.sender == name]
        assert told == [text for n in range(50) for text in (f"{name} joined", f"{name}: {n}", f"{name} left")]
