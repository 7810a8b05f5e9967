"""A queue that is fair to addresses: one that asks for much waits behind itself, not before the others."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

from bcast_grpc.core.peers import network_of

T = TypeVar("T")


class ByAddress(Generic[T]):
    """What waits for its turn: addresses take turns, the connections of an address do, and each has its own order.

    An address is what limits count together: see ``network_of``. Cost: O(1), some microseconds.
    """

    __slots__ = ("_addresses",)

    def __init__(self) -> None:
        self._addresses: OrderedDict[str, OrderedDict[str, deque[T]]] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._addresses)

    def add(self, peer: str, item: T) -> None:
        """Let something wait.

        Args:
            peer: the client's end of the connection, as ``network_of`` takes it.
            item: what waits.
        """
        connections = self._addresses.setdefault(network_of(peer), OrderedDict())
        if waiting := connections.get(peer):
            waiting.append(item)
        else:
            connections[peer] = deque((item,))

    def take(self) -> T:
        """Take what is next. Something must be waiting."""
        address, connections = self._addresses.popitem(last=False)
        peer, waiting = connections.popitem(last=False)
        item = waiting.popleft()
        if waiting:
            connections[peer] = waiting  # the last one now
        if connections:
            self._addresses[address] = connections
        return item
