"""The log of a cluster, for a program that is no server: it is read to its end as the stream's leader has it."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, urlsafe_b64decode
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from typing import Any, NamedTuple, Self, TypeVar

from nats.aio.msg import Msg

from bcast_grpc.broker.base import CannotOpen
from bcast_grpc.broker.nats.cluster import Cluster
from bcast_grpc.broker.nats.connection.connection import Connection
from bcast_grpc.broker.nats.connection.requests import Lost
from bcast_grpc.broker.nats.names import Names
from bcast_grpc.broker.nats.peers.peers import Peer
from bcast_grpc.broker.nats.peers.talk import roll_call

_ANSWER_S = 5.0
_BATCH = 256
_BATCH_BYTES = 4 * 1024 * 1024
_AT_ONCE = 64
_FRUITLESS = 3  # so often a replica may lack what the leader has
_PAUSE_S = 0.05
_NO_MESSAGE, _NO_STREAM = 10037, 10059

T = TypeVar("T")


class Stored(NamedTuple):
    """A record as the stream has it.

    Attributes:
        sequence: its place in the stream.
    """

    sequence: int
    subject: str
    data: bytes


class Refusal(Exception):
    """NATS answered with an error.

    Attributes:
        code: its ``err_code``; 0 if there is none.
    """

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(str(error.get("description", "an unknown error")))
        self.code = int(error.get("err_code", 0))


class Log:
    """A connection to NATS and the stream of one cluster, in an ``async with`` statement.

    Attributes:
        names: of the stream and its subjects.
        shown: the stream and where it is, for people.
        connection: to NATS.

    Raises:
        CannotOpen: on entering: NATS cannot be used; from any method: it does not answer, or there is no such stream.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.names = Names(cluster.name)
        self.shown = f"{self.names.stream} on {cluster.target.shown}"
        self.connection = Connection(cluster.target, lambda _: None)

    async def __aenter__(self) -> Self:
        await self.connection.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.connection.close()

    # --- the stream

    async def info(self, **which: object) -> dict[str, Any]:
        """Return what the stream's leader says of the stream."""
        try:
            return await self.ask("STREAM.INFO", which)
        except Refusal as error:
            if error.code == _NO_STREAM:
                raise CannotOpen(f"there is no stream {self.shown}") from None
            raise CannotOpen(f"the stream {self.shown} cannot be used: {error}") from None

    async def rooms(self) -> dict[str, int]:
        """Return how many records each room has, by the room's subject."""
        found: dict[str, int] = {}
        while True:
            state = (await self.info(subjects_filter=">", offset=len(found)))["state"]
            page = state.get("subjects") or {}
            found |= page
            if not page or len(found) >= state.get("num_subjects", 0):
                return found

    def room_of(self, subject: str) -> str:
        """Return the name of the room whose records are on a subject."""
        token = subject.rpartition(".")[2]
        try:
            return urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
        except ValueError:
            return subject  # no server writes there

    async def ask(self, api: str, body: Mapping[str, object], timeout_s: float = _ANSWER_S) -> dict[str, Any]:
        """Ask JetStream about the stream.

        Raises:
            Refusal: the answer is an error.
        """
        subject = f"$JS.API.{api}.{self.names.stream}"
        answer = _parsed(await self._answer(subject, json.dumps(body).encode() if body else b"", timeout_s))
        if error := answer.get("error"):
            raise Refusal(error)
        return answer

    async def _answer(self, subject: str, data: bytes, timeout_s: float) -> Msg:
        try:
            answer = await self.connection.request(subject, data, timeout_s)
        except Lost:
            raise self._unanswered(subject) from None
        if answer.headers and answer.headers.get("Status") == "503":
            raise CannotOpen(f"nobody answers for the stream {self.shown}: there is no JetStream, or no leader")
        return answer

    def _unanswered(self, subject: str) -> CannotOpen:
        return CannotOpen(
            f"NATS does not answer for the stream {self.shown}: it has no leader at the moment, or this account may not"
            f" use {subject}"
        )

    async def servers(self) -> list[Peer]:
        """Return the servers of the cluster that answer within a second."""
        try:
            return await roll_call(self.connection, self.names)
        except Lost:
            raise CannotOpen(f"the connection to NATS was lost: {self.shown}") from None

    # --- records

    async def last(self, subject: str) -> Stored | None:
        """Return the last record on a subject, from the leader; None if there is none."""
        return await self._get(last_by_subj=subject)

    async def next(self, subject: str, after: int) -> Stored | None:
        """Return the first record on a subject after a place, from the leader; None if there is none."""
        return await self._get(seq=after + 1, next_by_subj=subject)

    async def _get(self, **which: object) -> Stored | None:
        try:
            message = (await self.ask("STREAM.MSG.GET", which))["message"]
        except Refusal as error:
            if error.code == _NO_MESSAGE:
                return None
            raise CannotOpen(f"the stream {self.shown} cannot be read: {error}") from None
        return Stored(message["seq"], message["subject"], b64decode(message.get("data", "")))

    async def records(self, subject: str, last: int) -> AsyncIterator[Stored]:
        """Yield the records on a subject, which may have wildcards, up to a place in the stream.

        They come in batches from any replica, as servers read them. What a replica does not have is read from the
        leader.
        """
        place, fruitless = 0, 0
        while place < last:
            found = await self._batch(subject, place)
            if not found and fruitless >= _FRUITLESS:
                one = await self.next(subject, place)
                if one is None:
                    return
                found = [one]
            fruitless = 0 if found else fruitless + 1
            for one in found:
                place = one.sequence
                if place <= last:
                    yield one
            if not found:
                await asyncio.sleep(_PAUSE_S)

    async def _batch(self, subject: str, after: int) -> list[Stored]:
        body = {"seq": after + 1, "batch": _BATCH, "max_bytes": _BATCH_BYTES, "next_by_subj": subject}
        api = f"$JS.API.DIRECT.GET.{self.names.stream}"
        try:
            *messages, end = await self.connection.collect(api, json.dumps(body).encode(), _ANSWER_S)
        except Lost:
            raise self._unanswered(api) from None
        status = end.headers or {}
        if status.get("Status") not in ("204", "404"):
            raise CannotOpen(f"the stream {self.shown} cannot be read: {status.get('Description', 'no answer')}")
        found = [(message.headers or {}, message.data) for message in messages]
        return [Stored(int(headers["Nats-Sequence"]), headers["Nats-Subject"], data) for headers, data in found]

    async def append(self, subject: str, data: bytes, expected: int) -> int | None:
        """Append a record if the last one on its subject is at ``expected``.

        Returns:
            Its place in the stream; None if another record is the last.
        """
        headers = {"Nats-Expected-Last-Subject-Sequence": str(expected)}
        while True:
            try:
                answer = _parsed(await self.connection.request(subject, data, _ANSWER_S, headers))
            except Lost:
                answer = {}
            if answer and "error" not in answer:  # an error has a seq as well: 0
                return int(answer["seq"])
            # It may have been stored all the same, but in this one place only, and so it may be sent again.
            one = await self.next(subject, expected)
            if one is not None:
                return one.sequence if one.data == data else None
            if error := answer.get("error"):
                last = await self.last(subject)
                if (last.sequence if last else 0) != expected:
                    return None
                if error.get("err_code") not in (10071, 10164):
                    raise CannotOpen(f"the stream {self.shown} does not take a record: {error.get('description')}")
            await asyncio.sleep(_PAUSE_S)


def _parsed(message: Msg) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(message.data)
    except ValueError:
        return {}
    return answer


async def each(work: Callable[[str], Coroutine[Any, Any, T]], subjects: Iterable[str]) -> list[T]:
    """Do the same with each subject, some at a time; return the results in the order of the subjects."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(subject: str) -> T:
        async with gate:
            return await work(subject)

    return list(await asyncio.gather(*map(one, subjects)))
