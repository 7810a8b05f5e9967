"""How clients are spread over several servers."""

from __future__ import annotations

from collections.abc import Sequence

from bcast_grpc.bench.plan import Plan
from bcast_grpc.client.address import Address


class Spread:
    """The servers, and which of them each client tries in which order.

    The clients of a room are spread evenly, and so are the senders, which are in different rooms if there are some.

    Args:
        plan: the load.
        addresses: the servers; at least one.
    """

    def __init__(self, plan: Plan, addresses: Sequence[Address]) -> None:
        self._rooms = plan.options.rooms
        self._addresses = addresses
        self._failed: dict[Address, None] = {}

    def order(self, client: int) -> list[Address]:
        """Return the servers in the order in which a client tries them: those that failed before come last."""
        place, room = divmod(client, self._rooms)
        first = (place + room) % len(self._addresses)
        around = [*self._addresses[first:], *self._addresses[:first]]
        return sorted(around, key=self._failed.__contains__)

    def put_last(self, address: Address, _: float) -> None:
        """Try all others before this one."""
        self._failed[address] = None
