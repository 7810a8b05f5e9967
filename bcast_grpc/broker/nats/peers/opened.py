"""The logs of the rooms that are open here, as far as other servers are told of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from bcast_grpc.broker.nats.log.actions import Action
from bcast_grpc.broker.nats.log.room_log import RoomLog


class Opened(Protocol):
    """What has the log of a room, as a ``LogOrder`` does.

    Attributes:
        room: the room's name.
        log: this server's side of the log.
    """

    room: str
    log: RoomLog

    def perform(self, asked: Iterable[Action]) -> None:
        """Do what the log asks for."""
