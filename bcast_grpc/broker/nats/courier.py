"""Carries the requests of the rooms' logs to NATS, and brings their answers."""

from __future__ import annotations

import json
import logging
import re
from base64 import b64decode
from typing import Any, Protocol

from nats.aio.msg import Msg

from bcast_grpc.broker.nats.actions import Append, Forward, ReadAfter, ReadEnd
from bcast_grpc.broker.nats.connection import TooLarge
from bcast_grpc.broker.nats.log import RoomLog
from bcast_grpc.broker.nats.requests import Lost
from bcast_grpc.broker.nats.stream import Names

logger = logging.getLogger(__name__)

ANSWER_S = 2.0

_RECORDS = 256
_BYTES = 4 * 1024 * 1024
_WRONG_LAST, _BUSY, _NO_MESSAGE = 10071, 10164, 10037
_LAST = re.compile(r"wrong last sequence: (\d+)")


class Wire(Protocol):
    """What a courier needs of a connection."""

    async def publish(self, subject: str, data: bytes) -> None:
        """Send a message."""

    async def request(self, subject: str, data: bytes, timeout_s: float, headers: dict[str, str] | None = None) -> Msg:
        """Send a message, and return its answer."""

    async def collect(self, subject: str, data: bytes, timeout_s: float) -> list[Msg]:
        """Send a message, and return its answers."""


class Unusable(Exception):
    """An answer that is an error."""


class Courier:
    """Carries out what logs ask for.

    Args:
        wire: the connection.
        names: of the cluster.
    """

    def __init__(self, wire: Wire, names: Names) -> None:
        self._wire = wire
        self._names = names

    async def carry(self, room: str, log: RoomLog, ask: Append | ReadAfter | ReadEnd | Forward) -> list[Any]:
        """Send a request of a room's log, give the log the answer, and return what it wants done then."""
        match ask:
            case Append():
                return await self._append(room, log, ask)
            case ReadAfter():
                return await self._read(room, log, ask)
            case ReadEnd():
                return await self._end(room, log, ask)
        try:
            await self._wire.publish(self._names.forwards(ask.writer, room), ask.data)
        except (Lost, TooLarge):
            logger.debug("messages of the room %s were not forwarded", room)
        return []

    async def _append(self, room: str, log: RoomLog, ask: Append) -> list[Any]:
        headers = {"Nats-Expected-Last-Subject-Sequence": str(ask.expected)}
        try:
            message = await self._wire.request(self._names.log(room), ask.data, ANSWER_S, headers)
            answer = _parsed(message)
        except (Lost, Unusable):
            return log.unknown(ask.ticket)
        except TooLarge:
            logger.exception("a record of the room %s cannot be stored", room)
            return log.unknown(ask.ticket)
        if "error" not in answer:
            return log.stored(ask.ticket, answer["seq"])
        match answer["error"].get("err_code"):
            case code if code == _WRONG_LAST and (found := _LAST.search(answer["error"].get("description", ""))):
                return log.refused(ask.ticket, int(found[1]))
            case code if code in (_WRONG_LAST, _BUSY):
                return log.refused(ask.ticket, None)
        logger.warning("NATS did not store a record of the room %s: %s", room, answer["error"].get("description"))
        return log.unknown(ask.ticket)

    async def _read(self, room: str, log: RoomLog, ask: ReadAfter) -> list[Any]:
        try:
            if ask.leader:
                found = await self._get(seq=ask.sequence + 1, next_by_subj=self._names.log(room))
                return log.records(ask.ticket, [found] if found else [], False)
            body = {
                "seq": ask.sequence + 1,
                "batch": _RECORDS,
                "max_bytes": _BYTES,
                "next_by_subj": self._names.log(room),
            }
            subject = f"$JS.API.DIRECT.GET.{self._names.stream}"
            *messages, end = await self._wire.collect(subject, json.dumps(body).encode(), ANSWER_S)
        except (Lost, Unusable):
            return log.failed(ask.ticket)
        status = end.headers or {}
        if status.get("Status") not in ("204", "404"):
            return log.failed(ask.ticket)
        records = [(int((message.headers or {})["Nats-Sequence"]), message.data) for message in messages]
        return log.records(ask.ticket, records, int(status.get("Nats-Num-Pending", "0")) > 0)

    async def _end(self, room: str, log: RoomLog, ask: ReadEnd) -> list[Any]:
        try:
            sequence, data = await self._get(last_by_subj=self._names.log(room)) or (0, b"")
        except (Lost, Unusable):
            return log.failed(ask.ticket)
        return log.end(ask.ticket, sequence, data)

    async def _get(self, **which: object) -> tuple[int, bytes] | None:
        """Return a record from the stream's leader, and its place; None if there is none."""
        subject = f"$JS.API.STREAM.MSG.GET.{self._names.stream}"
        answer = _parsed(await self._wire.request(subject, json.dumps(which).encode(), ANSWER_S))
        if error := answer.get("error"):
            if error.get("err_code") == _NO_MESSAGE:
                return None
            raise Unusable
        message = answer["message"]
        return message["seq"], b64decode(message.get("data", ""))


def _parsed(message: Msg) -> dict[str, Any]:
    if message.headers and "Status" in message.headers:  # 503: nobody answers for the stream at the moment
        raise Unusable
    try:
        answer: dict[str, Any] = json.loads(message.data)
    except ValueError:
        raise Unusable from None
    return answer
