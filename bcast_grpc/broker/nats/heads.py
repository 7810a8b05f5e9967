"""What servers say to each other about how far their logs are, because live records may get lost."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import NoReturn

from nats.aio.msg import Msg

from bcast_grpc.broker.nats.connection import Connection, TooLarge
from bcast_grpc.broker.nats.order import LogOrder
from bcast_grpc.broker.nats.requests import Lost

logger = logging.getLogger(__name__)

_BEAT_S = 2.0
_TIMES = 3

_HEAD_BYTES = 1024
"""Most bytes of one room in a beat: its name takes up to 686, its record's id and place some 60."""


class Heads:
    """Tells other servers the ends of the logs that have changed, and takes theirs.

    Args:
        me: the name of this run of the server.
        subject: where everyone tells it.
        connection: to NATS.
        orders: those that are open, by the tokens of their rooms.
    """

    def __init__(self, me: str, subject: str, connection: Connection, orders: Mapping[str, LogOrder]) -> None:
        self._me = me
        self._subject = subject
        self._connection = connection
        self._orders = orders
        self._told: dict[str, tuple[tuple[int, str], int]] = {}

    async def tell(self) -> NoReturn:
        """Tell what has changed, every two seconds. Each change is told three times, as a beat may get lost."""
        while True:
            await asyncio.sleep(_BEAT_S)
            await self._beat()

    async def _beat(self) -> None:
        changed = self._changed()
        rooms = max(1, self._connection.max_bytes // _HEAD_BYTES - 1)
        for first in range(0, len(changed), rooms):
            body = json.dumps({"from": self._me, "heads": dict(changed[first : first + rooms])})
            try:
                await self._connection.publish(self._subject, body.encode())
            except (Lost, TooLarge):
                self._told = {}
                return

    def _changed(self) -> list[tuple[str, tuple[int, str]]]:
        now = {name: (one.log.sequence, one.log.record) for name, one in self._orders.items() if one.log.level}
        told, self._told = self._told, {}
        for name, head in now.items():
            known, times = told.get(name, (head, 0))
            self._told[name] = head, min(times + 1, _TIMES + 1) if known == head else 1
        return [(name, head) for name, (head, times) in self._told.items() if times <= _TIMES]

    def take(self, message: Msg) -> None:
        """Take what a server tells."""
        try:
            told = json.loads(message.data)
            heads = {} if told["from"] == self._me else told["heads"]
            for name, (sequence, record) in heads.items():
                if order := self._orders.get(name):
                    order.perform(order.log.head_of_other(int(sequence), str(record)))
        except (ValueError, TypeError, KeyError, AttributeError):
            logger.warning("another server's heads of logs cannot be read: is it of another version?")
