"""Asks the other servers what they have told of rooms, before this one appends to their logs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count

from bcast_grpc.broker.nats.peers.opened import Opened
from bcast_grpc.broker.nats.peers.peers import MAX_NAME
from bcast_grpc.broker.nats.peers.talk import Talk
from bcast_grpc.log.v1 import peers_pb2 as pb

_ROOM_BYTES = 1024
"""Most bytes of one room in a message: its name takes up to 686, an epoch and a number some 40."""

_GIVEN_UP_S = 5.0


@dataclass(slots=True)
class _Asked:
    """A question that not all have answered.

    Attributes:
        rooms: the tokens of the rooms.
        servers: those that have not answered.
        since_s: when it was asked, by the loop's clock.
    """

    rooms: list[str]
    servers: set[str]
    since_s: float


class Asking:
    """Asks for many rooms at once, and answers. A ``Part`` of the talk.

    Args:
        orders: those that are open, by the tokens of their rooms.
        talk: says and hears it.
    """

    def __init__(self, orders: Mapping[str, Opened], talk: Talk) -> None:
        self._orders = orders
        self._talk = talk
        self._numbers = count(1)
        self._soon: dict[str, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._asked: dict[int, _Asked] = {}

    def ask(self, room: str) -> None:
        """Ask for a room, by its token, once the other servers are known."""
        self._soon[room] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._talk.acquainted_in_s, self._ask)

    def _ask(self) -> None:
        self._timer = None
        soon, self._soon = list(self._soon), {}
        servers = {peer.name for peer in self._talk.peers.all}
        most = self._most
        for first in range(0, len(soon), most):
            rooms = soon[first : first + most]
            number = next(self._numbers)
            self._asked[number] = _Asked(rooms, set(servers), asyncio.get_running_loop().time())
            if servers:
                self._talk.say(self._question(number))
            self._finish(number)

    @property
    def _most(self) -> int:
        """How many rooms fit into a message, at most."""
        return max(1, self._talk.max_bytes // _ROOM_BYTES - 1)

    def _question(self, number: int) -> pb.PeerMessage:
        return pb.PeerMessage(heads_asked=pb.HeadsAsked(number=number, rooms=self._told(self._asked[number].rooms)))

    def _told(self, rooms: Iterable[str]) -> list[pb.Told]:
        told = []
        for room in rooms:
            log = order.log if (order := self._orders.get(room)) else None
            told.append(pb.Told(room=room, epoch=log.epoch if log else "", seq=log.head if log else 0))
        return told

    def _finish(self, number: int) -> None:
        """Let the rooms go on if all have answered."""
        if not self._asked[number].servers:
            for room in self._asked.pop(number).rooms:
                if order := self._orders.get(room):
                    order.perform(order.log.all_claimed())

    # --- a part of the talk

    def beat(self) -> Iterable[pb.PeerMessage]:
        """Return nothing: it speaks when it has to."""
        return ()

    def heard(self, message: pb.PeerMessage) -> None:
        """Take what a server has told, and answer it."""
        server = message.server
        if message.HasField("heads_asked"):
            number, asked = message.heads_asked.number, message.heads_asked.rooms[: self._most]
            self._take(asked)
            known = self._told(room for room in dict.fromkeys(told.room for told in asked) if room in self._orders)
            self._talk.say(pb.PeerMessage(heads_told=pb.HeadsTold(number=number, rooms=known)), server)
        elif message.HasField("heads_told"):
            self._take(message.heads_told.rooms)
            self._answered(server, message.heads_told.number)
        elif message.HasField("beat") and message.beat.calls:  # it may have missed what was asked
            for number, waiting in self._asked.items():
                if server in waiting.servers:
                    self._talk.say(self._question(number), server)

    def _take(self, rooms: Iterable[pb.Told]) -> None:
        for told in rooms:
            if len(told.epoch) <= MAX_NAME and (order := self._orders.get(told.room)):
                order.perform(order.log.claimed(told.epoch, told.seq))

    def _answered(self, server: str, number: int) -> None:
        if waiting := self._asked.get(number):
            waiting.servers.discard(server)
            self._finish(number)

    def gone(self, server: str) -> None:
        """Wait no more for a server that is gone."""
        for number in list(self._asked):
            self._answered(server, number)

    def end(self) -> None:
        """Do nothing: what was asked is of no use any more."""

    def tick(self, now_s: float) -> None:
        """Drop what nobody waits for any more: the logs have gone on without."""
        for number in [number for number, one in self._asked.items() if now_s - one.since_s > _GIVEN_UP_S]:
            del self._asked[number]
