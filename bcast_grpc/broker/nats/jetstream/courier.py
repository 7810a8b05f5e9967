"""Carries the requests of the rooms' logs to NATS, and brings their answers."""

from __future__ import annotations

import json
import logging
import re
from base64 import b64decode
from collections.abc import Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Protocol

from nats.aio.msg import Msg

from bcast_grpc.broker.nats.connection.connection import TooLarge
from bcast_grpc.broker.nats.connection.requests import Failed, Lost
from bcast_grpc.broker.nats.jetstream.silence import Silence
from bcast_grpc.broker.nats.log.actions import Append, Forward, Read, ReadAfter, ReadEnd, ReadSince
from bcast_grpc.broker.nats.log.room_log import RoomLog
from bcast_grpc.broker.nats.names import Names

logger = logging.getLogger(__name__)

ANSWER_S = 2.0
_QUIET_S = 60.0

_RECORDS = 256
_BYTES = 4 * 1024 * 1024
_FEW_RECORDS = 64
_FEW_BYTES = 256 * 1024
_SOME_RECORDS = 128
_SOME_BYTES = 1024 * 1024
_UNAVAILABLE = 503
_FULL = {10023, 10028, 10047, 10077}  # memory, storage or the disk has no room: that is an answer
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


class Courier:
    """Carries out what logs ask for.

    Args:
        wire: the connection.
        names: of the cluster.

    Attributes:
        trouble: why NATS stores no records at the moment; empty if it does.
        stored: how many records it has stored.
        unanswered: how many times it has not answered in time whether it has stored one.
    """

    def __init__(self, wire: Wire, names: Names) -> None:
        self.trouble = ""
        self.stored = self.unanswered = 0
        self._wire = wire
        self._names = names
        self._appends, self._reads = Silence(), Silence()
        self._told_s = -_QUIET_S

    def is_silent(self, most_s: float) -> bool:
        """Whether the log's leader has had no answer to all but appends for so long."""
        return self._reads.seconds >= most_s

    def stores_nothing(self, most_s: float) -> bool:
        """Whether it has had no answer to appends for so long; that is trouble until there is one.

        So does a NATS server that could not write to its disk, until it is started again.
        """
        if self._appends.seconds < most_s:
            return False
        self.trouble = self.trouble or (
            f"NATS does not store messages: it has answered none for {most_s:g} s; was its disk full? Then restart it"
        )
        return True

    def reconnected(self) -> None:
        """Note that what had no answer was asked of another server, or over a connection that was lost."""
        self._appends.broken()
        self._reads.broken()

    async def probe(self) -> None:
        """Ask the log's leader for anything.

        Raises:
            Lost: it does not answer.
        """
        try:
            await self._get(last_by_subj=self._names.log(" "))
        except Failed:
            raise Lost from None

    async def carry(self, room: str, log: RoomLog, ask: Append | Read | Forward) -> list[Any]:
        """Send a request of a room's log, give the log the answer, and return what it wants done then."""
        match ask:
            case Append():
                return await self._append(room, log, ask)
            case ReadAfter():
                return await self._read(room, log, ask)
            case ReadEnd():
                return await self._end(room, log, ask)
            case ReadSince():
                return await self._since(room, log, ask)
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
        except (Lost, Failed):
            self.unanswered += 1
            self._appends.failed(ANSWER_S)
            return log.unknown(ask.ticket)
        except TooLarge:
            logger.exception("a record of the room %s cannot be stored", room)
            return log.unknown(ask.ticket)
        self._appends.broken()
        if "error" not in answer:
            self.trouble = ""
            self.stored += 1
            return log.stored(ask.ticket, answer["seq"])
        match answer["error"].get("err_code"):
            case code if code == _WRONG_LAST and (found := _LAST.search(answer["error"].get("description", ""))):
                return log.refused(ask.ticket, int(found[1]))
            case code if code in (_WRONG_LAST, _BUSY):
                return log.refused(ask.ticket, None)
        why = str(answer["error"].get("description"))
        self._note(room, why)
        return log.unknown(ask.ticket, why)

    def _note(self, room: str, why: str) -> None:
        """Note why a record was not stored. It is tried again some times a second, in each room, and told rarely."""
        self.trouble = f"NATS does not store messages: {why}"
        now_s = monotonic()
        if now_s - self._told_s >= _QUIET_S:
            self._told_s = now_s
            logger.warning("NATS did not store a record of the room %s, and perhaps of others: %s", room, why)

    async def _read(self, room: str, log: RoomLog, ask: ReadAfter) -> list[Any]:
        try:
            if ask.leader:
                found = await self._get(seq=ask.sequence + 1, next_by_subj=self._names.log(room))
                return log.records(ask.ticket, [found] if found else [], False)
            most = (_FEW_RECORDS, _FEW_BYTES) if ask.few else (_RECORDS, _BYTES)
            records, more = await self._batch(room, ask.sequence + 1, *most)
        except (Lost, Failed):
            return log.failed(ask.ticket)
        return log.records(ask.ticket, records, more)

    async def _end(self, room: str, log: RoomLog, ask: ReadEnd) -> list[Any]:
        try:
            sequence, data = await self._get(last_by_subj=self._names.log(room)) or (0, b"")
        except (Lost, Failed):
            return log.failed(ask.ticket)
        return log.end(ask.ticket, sequence, data)

    async def _since(self, room: str, log: RoomLog, ask: ReadSince) -> list[Any]:
        seconds, ns = divmod(ask.time_ns, 1_000_000_000)
        time = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ns:09}Z"
        try:
            found = await self._get(start_time=time, next_by_subj=self._names.log(room))
        except (Lost, Failed):
            return log.failed(ask.ticket)
        return log.records(ask.ticket, [found] if found else [], False)

    async def some(self, room: str, sequence: int) -> Sequence[tuple[int, bytes]]:
        """Return some records from a place in the stream on, of any replica.

        Raises:
            Lost, Failed: there is no answer, or an error.
        """
        return (await self._batch(room, sequence, _SOME_RECORDS, _SOME_BYTES))[0]

    async def next(self, room: str, sequence: int) -> tuple[int, bytes] | None:
        """Return the first record at a place in the stream or later, of the leader; None if there is none.

        Raises:
            Lost, Failed: there is no answer, or an error.
        """
        return await self._get(seq=sequence, next_by_subj=self._names.log(room))

    async def _batch(self, room: str, first: int, count: int, size: int) -> tuple[list[tuple[int, bytes]], bool]:
        """Return records of any replica from a place on, and whether there are more than fit."""
        body = {"seq": first, "batch": count, "max_bytes": size, "next_by_subj": self._names.log(room)}
        subject = f"$JS.API.DIRECT.GET.{self._names.stream}"
        *messages, end = await self._wire.collect(subject, json.dumps(body).encode(), ANSWER_S)
        status = end.headers or {}
        if status.get("Status") not in ("204", "404"):
            raise Failed
        records = [(int((message.headers or {})["Nats-Sequence"]), message.data) for message in messages]
        return records, int(status.get("Nats-Num-Pending", "0")) > 0

    async def _get(self, **which: object) -> tuple[int, bytes] | None:
        """Return a record from the stream's leader, and its place; None if there is none."""
        subject = f"$JS.API.STREAM.MSG.GET.{self._names.stream}"
        try:
            answer = _parsed(await self._wire.request(subject, json.dumps(which).encode(), ANSWER_S))
        except (Lost, Failed):
            self._reads.failed(ANSWER_S)
            raise
        self._reads.broken()
        if error := answer.get("error"):
            if error.get("err_code") == _NO_MESSAGE:
                return None
            raise Failed
        message = answer["message"]
        return message["seq"], b64decode(message.get("data", ""))


def _parsed(message: Msg) -> dict[str, Any]:
    """Return an answer of JetStream's.

    Raises:
        Failed: there is none: nobody answers for the stream at the moment, or not with what it has.
    """
    if message.headers and "Status" in message.headers:
        raise Failed
    try:
        answer: dict[str, Any] = json.loads(message.data)
    except ValueError:
        raise Failed from None
    error = answer.get("error", {})
    if error.get("code") == _UNAVAILABLE and error.get("err_code") not in _FULL:
        raise Failed
    return answer
