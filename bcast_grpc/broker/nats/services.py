"""What the order of a room needs of the broker that it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Protocol

from bcast_grpc.broker.backlog import Backlog
from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.nats.alarms import Alarms
from bcast_grpc.broker.nats.jetstream.readings import Readings
from bcast_grpc.broker.nats.log.actions import Append, Forward, Read
from bcast_grpc.broker.nats.log.incarnation import Incarnation
from bcast_grpc.broker.nats.log.limits import Limits
from bcast_grpc.broker.nats.peers.opened import Opened


class Services(Protocol):
    """What all orders of a broker share, and what it does for each.

    Attributes:
        me: this run of the server.
        retention: how much is kept.
        clock: measures ages.
        limits: those of each room's log.
        random: spreads what several servers would do at the same time.
        backlog: how much waits to be in the logs.
        alarms: wake the rooms' logs.
        readings: read what is not in memory.
    """

    me: Incarnation
    retention: Retention
    clock: Clock
    limits: Limits
    random: Random
    backlog: Backlog
    alarms: Alarms
    readings: Readings

    def carry(self, order: Opened, ask: Append | Read | Forward) -> None:
        """Carry out a request of an order's log."""

    def ask_heads(self, room: str) -> None:
        """Ask the other servers for what they have told of a room."""

    def released(self) -> None:
        """Note that an order's room is empty."""

    def when_clear(self, callback: Callable[[], None]) -> None:
        """Call back when less waits to be in the logs."""

    def answered(self) -> None:
        """Note that something has been answered, or came from other servers."""
