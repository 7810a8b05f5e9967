"""A client as a stranger would write it: the generated stub, and a loop that comes back and sends again."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from zlib import crc32

import grpc

from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.v1 import chat_pb2_grpc
from tests.integration.peers import SCALE, Ending

from .cable import Cable
from .records import Acked, Came, Client, Place, Present, Refused, Saw, Sent, Step, Told, Visit, Welcomed, Went

_SILENCE_S = 2.5 * SCALE
"""How long a client waits for anything to come, PROGRESS for one, before it tries another connection."""

_CHANNEL = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.http2.bdp_probe", 0),  # so that what a frozen client does not read is soon felt by the server
    ("grpc.http2.lookahead_bytes", 16 * 1024),
]
_UNANSWERED = 200


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
        return true()


class Caller:
    """One client: it talks, comes back when its stream ends, and sends again what was not acknowledged.

    Args:
        record: where everything goes that it sends and sees.
        room: where it goes.
        reader: whether it only reads, by ``Subscribe``.
        batch: whether its frames carry several requests and events.
        count: counts messages, acks, deliveries and so on.

    Attributes:
        place: the last place of the room's order that it saw or was told of.
        unacknowledged: what it sent, or is to send.
        places: of what was acknowledged.
        here: whether it is connected and welcome.
        outages_s: how long it took each time until it was welcome again.
    """

    def __init__(
        self, record: Client, room: str, cable: Cable, bell: Bell, count: Counter[str], *, reader: bool, batch: bool
    ) -> None:
        self.record = record
        self.room = room
        self.cable = cable
        self.reader = reader
        self.place: Place | None = None
        self.unacknowledged: dict[str, None] = {}
        self.places: dict[str, Place] = {}
        self.here = False
        self.outages_s: list[float] = []
        self._batch = batch
        self._bell = bell
        self._count = count
        self._due: deque[str] = deque()
        self._more = asyncio.Event()
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._number = 0
        self._lost_at = time.monotonic()
        self._leaving = False
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
        while True:
            visit = Visit(self.place)
            self.record.visits.append(visit)
            try:
                visit.ending = await self._visit(visit)
            finally:
                visit.ending = visit.ending or "broken off"
                if self.here:
                    self._lost_at = time.monotonic()
                    self.here = False
                self._bell.ring()
            if self._leaving:
                return
            self._count["streams that ended"] += 1
            self._count[f"streams that ended: {visit.ending}"] += 1
            await asyncio.sleep(random.uniform(0.02, 0.08))

    async def _visit(self, visit: Visit) -> str:
        async with grpc.aio.insecure_channel(self.cable.address, _CHANNEL) as channel:
            stub = chat_pb2_grpc.ChatStub(channel)  # type: ignore[no-untyped-call]
            metadata = self._metadata()
            call = (
                stub.Subscribe(pb.SubscribeRequest(), metadata=metadata)
                if self.reader
                else stub.Connect(metadata=metadata)
            )
            writing: asyncio.Task[None] | None = None
            try:
                while True:
                    await self._thawed.wait()
                    async with asyncio.timeout(_SILENCE_S):
                        frame = await call.read()
                    if frame is grpc.aio.EOF:
                        await call.code()
                        return "OK"
                    for event in frame.batch or [frame]:
                        self._hear(event, visit)
                    self._bell.ring()
                    if not writing and self.here:
                        writing = asyncio.create_task(self._write(call, visit))
            except grpc.aio.AioRpcError as error:
                ending = Ending.of(error)
                return ending.reason or f"status {ending.code.name.lower()}"
            except TimeoutError:
                return "silence"
            finally:
                if writing:
                    writing.cancel()

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        key = self.record.key
        pairs = {"room": self.room, "client": key, "events": "all", "echo": f"{self.record.echo:d}"}
        if self.record.named:
            pairs["name"] = key
        if self._batch:
            pairs["batch"] = "1"
        if self.place:
            pairs["after"] = f"{self.place.epoch}:{self.place.seq}"
        return tuple((f"bcast-{key}", value) for key, value in pairs.items())

    async def _write(self, call: Any, visit: Visit) -> None:
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            if self.reader:
                return
            await call.write(pb.ConnectRequest(operacion="who", id="who"))
            self._due = deque(self.unacknowledged)
            while not self._leaving:
                if not self._due:
                    self._more.clear()
                    await self._more.wait()
                    continue
                texts = [self._due.popleft() for _ in range(min(len(self._due), 20 if self._batch else 1))]
                visit.steps += map(Sent, texts)
                requests = [_request(text) for text in texts]
                await call.write(pb.ConnectRequest(batch=requests) if self._batch else requests[0])
            await call.write(pb.ConnectRequest(operacion="leave"))

    def _hear(self, event: pb.ConnectResponse, visit: Visit) -> None:
        step = self._read(event, visit)
        if step is None:
            return
        visit.steps.append(step)
        epoch = visit.welcome.head.epoch if visit.welcome else ""
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
        self._count["deliveries"] += isinstance(step, Saw)
        self._count["gaps"] += isinstance(step, Told)

    def _arrive(self, head: Place) -> None:
        self.here = True
        if self.place:
            self.outages_s.append(time.monotonic() - self._lost_at)
            self._count["reconnects"] += 1
        else:
            self.place = head

    def _read(self, event: pb.ConnectResponse, visit: Visit) -> Step | None:
        match event.kind:
            case pb.EVENT_KIND_WELCOME:
                return Welcomed(Place(event.welcome.epoch, event.seq), event.welcome.resumed)
            case pb.EVENT_KIND_MESSAGE:
                return Saw(event.seq, _text(event))
            case pb.EVENT_KIND_ACK:
                ack = event.ack
                return Acked(f"{self.record.key}/{event.id}", Place(ack.epoch, ack.seq), ack.duplicate)
            case pb.EVENT_KIND_ERROR:
                return Refused(f"{self.record.key}/{event.id}", pb.ErrorCode.Name(event.error.code))
            case pb.EVENT_KIND_GAP:
                reason = pb.GapReason.Name(event.gap.reason).removeprefix("GAP_REASON_")
                return Told(event.gap.first_missed, event.gap.last_missed, reason)
            case pb.EVENT_KIND_JOINED:
                return Came(event.sender)
            case pb.EVENT_KIND_LEFT:
                return Went(event.sender)
            case pb.EVENT_KIND_MEMBERS:
                return Present(frozenset(member.name for member in event.members.members if member.name))
        return None


def _request(text: str) -> pb.ConnectRequest:
    return pb.ConnectRequest(msg=text, data=data_of(text), id=text.rpartition("/")[2])


def data_of(text: str) -> bytes:
    """Return the payload that belongs to a text: from nothing to 4 KB."""
    return text.encode() * (crc32(text.encode()) % 30) ** 2 if crc32(text.encode()) % 3 == 0 else text.encode()


def _text(event: pb.ConnectResponse) -> str:
    """Return a message's text, which is its author's own if everything that came along with it is right."""
    text = event.message.removeprefix(f"{event.sender}: ") if event.sender else event.message
    author = text.rpartition("/")[0]
    intact = event.sender in ("", author) and event.data == data_of(text)
    return text if intact else f"garbled {text}"
