"""A client as a stranger would write it: a loop that comes back and sends again what was not acknowledged."""

from __future__ import annotations

import asyncio
import math
import random
import socket
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import ClassVar
from zlib import crc32

import grpc

from tests.engine import engine
from tests.integration.peers import SCALE

from .cable import Cable
from .guard import Guard
from .records import Acked, Client, Door, Place, Refused, Saw, Sent, Step, Told, Visit, Welcomed

SILENCE_S = 2.5 * SCALE
"""How long a client waits for anything to come, PROGRESS for one, before it tries another connection."""

_UNANSWERED = 200
_BUFFER = 16 * 1024  # small, so that what a frozen client does not read is soon felt by the server


class Bell:
    """Rung whenever anything happened that somebody may be waiting for."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Have all who wait look again."""
        self._rung.set()

    async def until(self, true: Callable[[], bool], patience_s: float) -> bool:
        """Wait until something is true; return False if it does not become so in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while not true():
                    self._rung.clear()
                    await self._rung.wait()
                    await asyncio.sleep(0.01)  # so that one look is enough for all that happens at a time
        return true()


class Caller(ABC):
    """One client: it talks, comes back when its stream ends, and sends again what was not acknowledged.

    Args:
        record: where everything goes that it sends and sees.
        room: where it goes.
        cable: what it connects to.
        bell: rung whenever something happened to it.
        count: counts messages, acks, deliveries and so on.
        batch: whether its frames carry several requests and events.

    Attributes:
        door: which door it comes through.
        speaks: whether it sends anything.
        place: the last place of the room's order that it saw or was told of.
        unacknowledged: what it sent, or is to send.
        places: of what was acknowledged.
        here: whether it is connected and welcome.
        outages_s: how long it took each time until it was welcome again.
        guard: what it needs to get in; None where anyone may come.
        lasting: whether its last token holds for long.
        visit: its last stream, or the part of it since the order of the room began anew.
        silence_s: how long it waits for anything to come before it tries another connection.
        pause_s: how long it waits before that, at least and at most.
    """

    door: ClassVar[Door]
    speaks: ClassVar[bool] = True

    def __init__(
        self, record: Client, room: str, cable: Cable, bell: Bell, count: Counter[str], *, batch: bool = False
    ) -> None:
        self.record = record
        self.room = room
        self.cable = cable
        self.place: Place | None = None
        self.unacknowledged: dict[str, None] = {}
        self.places: dict[str, Place] = {}
        self.here = False
        self.outages_s: list[float] = []
        self.guard: Guard | None = None
        self.lasting = False
        self.visit = Visit()
        self.silence_s = SILENCE_S
        self.pause_s = 0.02, 0.08
        self._renews_at = 0.0
        self._batch = batch
        self._bell = bell
        self._count = count
        self._due: deque[str] = deque()
        self._more = asyncio.Event()
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._number = 0
        self._came_before = False
        self._lost_at = time.monotonic()
        self._leaving = False
        self._banished = False
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect, and come back whenever the stream ends."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End, without a word to the server where the cable is cut."""
        if self._running:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    async def leave(self) -> None:
        """Say that it leaves, and read to the end of the stream."""
        self._leaving = True
        self._more.set()
        if self._running:
            await self._running

    def freeze(self) -> None:
        """Stop reading."""
        self._thawed.clear()

    def thaw(self) -> None:
        """Read on."""
        self._thawed.set()

    def has_come(self, place: Place) -> bool:
        """Whether it saw what is in a place of the order, or is past it."""
        return bool(self.here and self.place and self.place.epoch == place.epoch and self.place >= place)

    @property
    def congested(self) -> bool:
        """Whether so much is unanswered that it should say nothing more for now."""
        return len(self.unacknowledged) >= _UNANSWERED

    def say(self) -> str:
        """Send a message as soon as there is a stream, and return its text."""
        self._number += 1
        text = f"{self.record.key}/{self._number}"
        self.unacknowledged[text] = None
        self._count["messages"] += 1
        self._put(text)
        return text

    def _put(self, text: str) -> None:
        if text in self.unacknowledged and text not in self._due:
            self._due.append(text)
            self._more.set()

    async def _run(self) -> None:
        while not self._banished:
            self._begin()
            try:
                self.visit.ending = await self._visit()
            finally:
                self.visit.ending = self.visit.ending or "broken off"
                if self.here:
                    self._lost_at = time.monotonic()
                    self.here = False
                self._bell.ring()
            if self._leaving:
                return
            self._count["streams that ended"] += 1
            self._count[f"streams that ended: {self.door}: {self.visit.ending}"] += 1
            self._depart()
            await asyncio.sleep(random.uniform(*self.pause_s))  # as clients do, which come back one by one

    def _begin(self) -> None:
        self.visit = Visit(self.place)
        self.record.visits.append(self.visit)

    @abstractmethod
    async def _visit(self) -> str:
        """Connect, talk and listen until the stream ends, and return how it did.

        That is the code of the contract, ``OK`` where the client has left, or in lower case how it was lost.
        """

    def _token(self) -> str:
        """Return a new token; nothing where none is needed."""
        self._renews_at = time.monotonic() + random.choice([random.uniform(0.3, 1.0), math.inf])
        if not self.guard:
            return ""
        self.lasting = self.guard.calm
        return self.guard.token(self.record.key)

    def _due_token(self) -> str:
        """Return a new token where it is time to renew the last one: some streams do that, others end."""
        return self._token() if self.guard and time.monotonic() > self._renews_at else ""

    def _depart(self) -> None:  # noqa: B027  # most have nothing to look after
        """Look after the record when a stream has ended."""

    async def _speak(self, send: Callable[[Sequence[str]], Awaitable[None]]) -> None:
        """Send all that is unacknowledged, and then what is said, until it is to leave."""
        self._due = deque(self.unacknowledged)
        while not self._leaving:
            if not self._due:
                self._more.clear()
                await self._more.wait()
                continue
            texts = [self._due.popleft() for _ in range(min(len(self._due), 20 if self._batch else 1))]
            self.visit.steps += map(Sent, texts)
            await send(texts)

    def _hear(self, step: Step) -> None:
        if isinstance(step, Welcomed) and self.visit.welcome:
            self.visit.ending = "a new order"
            self._begin()
        self.visit.steps.append(step)
        epoch = self.visit.welcome.head.epoch if self.visit.welcome else ""
        match step:
            case Welcomed(head):
                self._arrive(head)
            case Saw(seq, _) | Told(_, seq, "TRIMMED" | "SLOW"):
                self.place = Place(epoch, seq)
            case Told(_, _, "NEW_EPOCH"):
                self.place = Place(epoch, 0)
            case Acked(text, place):
                self._count["acks"] += 1
                self.places[text] = place
                self.unacknowledged.pop(text, None)
            case Refused(text, _):
                self._count["refused"] += 1
                asyncio.get_running_loop().call_later(0.05, self._put, text)
        self._count[f"deliveries: {self.door}"] += isinstance(step, Saw)
        self._count["gaps"] += isinstance(step, Told)

    def _arrive(self, head: Place) -> None:
        if self._came_before and not self.here:
            self.outages_s.append(time.monotonic() - self._lost_at)
            self._count["reconnects"] += 1
        self.here = self._came_before = True
        self.place = self.place or head


def channel_to(address: str, guard: Guard | None, options: Sequence[tuple[str, int]]) -> grpc.aio.Channel:
    """Return a channel of gRPC."""
    if engine() == "grpcio":  # gRPC's own server sends its GOAWAY to clients that are still connecting, too
        options = [*options, ("grpc.enable_retries", 0)]  # or they would call again and again, without a pause
    if guard:
        return grpc.aio.secure_channel(address, guard.credentials, options)
    return grpc.aio.insecure_channel(address, options)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that presents a token."""
    return (("authorization", f"Bearer {token}"),) if token else ()


async def dial(address: str) -> socket.socket:
    """Connect to an address.

    Raises:
        OSError: nobody is there.
    """
    host, _, port = address.rpartition(":")
    connection = socket.socket()
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        async with asyncio.timeout(SILENCE_S):
            await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
    except BaseException:
        connection.close()
        raise
    return connection


def id_of(text: str) -> str:
    """Return the ``id`` that a text is sent with: which of its author's messages it is."""
    return text.rpartition("/")[2]


def data_of(text: str) -> bytes:
    """Return the payload that belongs to a text: from nothing to 4 KB."""
    return text.encode() * (crc32(text.encode()) % 30) ** 2 if crc32(text.encode()) % 3 == 0 else text.encode()


def text_of(message: str, sender: str, data: bytes) -> str:
    """Return a message's text, which is its author's own if everything that came along with it is right."""
    text = message.removeprefix(f"{sender}: ") if sender else message
    intact = sender in ("", text.rpartition("/")[0]) and data == data_of(text)
    return text if intact else f"garbled {text}"
