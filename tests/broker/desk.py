"""A broker as tests use it: rooms by their names, and a loop that runs while something is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from bcast_grpc.broker.base import Broker, Deliver, Order
from bcast_grpc.broker.nats.broker import NatsBroker
from bcast_grpc.broker.nats.order import LogOrder
from bcast_grpc.broker.sqlite.order import StoredOrder
from bcast_grpc.errors import CallError
from bcast_grpc.events import Entry, Event

BrokerT = TypeVar("BrokerT", bound=Broker)


class Desk(Generic[BrokerT]):
    """Asks a broker for what a hub and its rooms ask for.

    Attributes:
        broker: the broker.
        lost: why orders could not go on.
    """

    def __init__(self, broker: BrokerT) -> None:
        self.broker = broker
        self.loop = asyncio.new_event_loop()
        self.lost: list[CallError] = []
        self._orders: dict[str, Order] = {}
        self._all: list[Order] = []
        self.loop.run_until_complete(broker.start(lambda _: None))

    def open(self, room: str, deliver: Deliver) -> Order:
        """Open a room."""
        order = self.loop.run_until_complete(self.broker.open(room))
        order.begin(deliver, self.lost.append)
        self._orders[room] = order
        self._all.append(order)
        return order

    def publish(self, room: str, entries: Sequence[Entry]) -> None:
        """Publish in a room that is open."""
        self._orders[room].submit(entries)

    def wait(self) -> None:
        """Wait until everything that was published has been answered."""
        for order in self._all:
            self.until(order.after_answers)

    def until(self, ask: Callable[[Callable[[], None]], object]) -> None:
        """Wait until what is asked for is called back from the loop, or was at once."""

        async def called() -> None:
            event = asyncio.Event()
            ask(event.set)
            await asyncio.wait_for(event.wait(), 30)

        self.loop.run_until_complete(called())

    def release(self, room: str) -> None:
        """Leave a room."""
        self._orders.pop(room).release()

    def expire(self) -> None:
        """Expire."""
        self.broker.expire()

    def relieve(self) -> None:
        """Relieve."""
        self.broker.relieve()

    def close(self) -> None:
        """Close."""
        if not self.loop.is_closed():
            self.loop.run_until_complete(self.broker.close())
            self.loop.close()


def kept(order: Order) -> Sequence[Event]:
    """All that is kept."""

    async def read() -> Sequence[Event]:
        all_events: list[Event] = []
        while (after := all_events[-1].seq if all_events else order.oldest - 1) < order.head:
            found: asyncio.Future[Sequence[Event] | CallError] = asyncio.get_running_loop().create_future()
            order.read(after, 1_000_000, 1 << 40, found.set_result)
            events = await asyncio.wait_for(found, 30)
            assert not isinstance(events, CallError)
            all_events += events
        return all_events

    if isinstance(order, StoredOrder) and order._broker._loop:
        return order._broker._loop.run_until_complete(read())
    if isinstance(order, LogOrder) and isinstance(order._broker, NatsBroker):
        return order._broker.loop.run_until_complete(read())
    return asyncio.run(read())
