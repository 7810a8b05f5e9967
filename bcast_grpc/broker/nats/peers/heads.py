"""What servers say to each other about how far their logs are, because live records may get lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from bcast_grpc.broker.nats.peers.opened import Opened
from bcast_grpc.broker.nats.peers.peers import MAX_NAME
from bcast_grpc.log.v1 import peers_pb2 as pb

_TIMES = 3

_HEAD_BYTES = 1024
"""Most bytes of one room in a message: its name takes up to 686, its record's id and place some 60."""


class Heads:
    """Tells other servers the ends of the logs that have changed, and takes theirs. A ``Part`` of the talk.

    Args:
        orders: those that are open, by the tokens of their rooms.
        max_bytes: returns how large a message may be.
    """

    def __init__(self, orders: Mapping[str, Opened], max_bytes: Callable[[], int]) -> None:
        self._orders = orders
        self._max_bytes = max_bytes
        self._told: dict[str, tuple[tuple[int, str], int]] = {}

    def beat(self) -> Iterator[pb.PeerMessage]:
        """Return what has changed. Each change is told with three beats, as one may get lost."""
        changed = self._changed()
        rooms = max(1, self._max_bytes() // _HEAD_BYTES - 1)
        for first in range(0, len(changed), rooms):
            message = pb.PeerMessage()
            for name, (sequence, record) in changed[first : first + rooms]:
                message.heads.heads.add(room=name, sequence=sequence, record=record)
            yield message

    def _changed(self) -> list[tuple[str, tuple[int, str]]]:
        now = {name: (one.log.sequence, one.log.record) for name, one in self._orders.items() if one.log.level}
        told, self._told = self._told, {}
        for name, head in now.items():
            known, times = told.get(name, (head, 0))
            self._told[name] = head, min(times + 1, _TIMES + 1) if known == head else 1
        return [(name, head) for name, (head, times) in self._told.items() if times <= _TIMES]

    def heard(self, message: pb.PeerMessage) -> None:
        """Take what a server tells."""
        for head in message.heads.heads:
            if len(head.record) <= MAX_NAME and (order := self._orders.get(head.room)):
                order.perform(order.log.head_of_other(head.sequence, head.record))

    def gone(self, server: str) -> None:
        """Do nothing: what it has said stays true."""

    def tick(self, now_s: float) -> None:
        """Do nothing: it speaks with the beats."""

    def end(self) -> None:
        """Do nothing: a head that was not told is found in the log."""
