"""A hub with its clients, in which nothing happens by itself."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

from bcast_grpc.broker.base import Broker, Refused
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.memory import MemoryBroker, MemoryOrder
from bcast_grpc.core.admission import Admission
from bcast_grpc.core.batch import Encoder, Piece
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.hub import Hub
from bcast_grpc.core.identity import Caller, Gatekeeper
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.presence import Presence
from bcast_grpc.core.session import Session
from bcast_grpc.core.states import State
from bcast_grpc.errors import CallError
from bcast_grpc.events import Ack, Entry, Error, Event, Kind, Request

from .scheduler import ManualScheduler

ALL = frozenset({Kind.MESSAGE, Kind.WELCOME, Kind.JOINED, Kind.LEFT, Kind.PROGRESS})
"""What a client wants that says ``bcast-events: all``."""

_HEAD = struct.Struct(">IH")


NOTHING_KEPT = Retention(messages=0, bytes=0, age_s=0, dedup_s=0)
"""For what has nothing to do with histories and retries."""


def placed(entries: Sequence[Entry], first_seq: int, time_ns: int = 0) -> list[Event]:
    """Return what entries are that were accepted in the places from ``first_seq`` on."""
    return [
        Event(Kind.MESSAGE, message, author, seq, time_ns, data)
        for seq, (author, message, data, *_) in enumerate(entries, first_seq)
    ]


class PlainWire:
    """A wire format that anyone can read: an event is its number in a list, and as many bytes as it carries.

    Args:
        frame_bytes: frames are joined up to this size; 0: each event is a frame of its own.

    Attributes:
        encoded: every event that was encoded, in order, as often as it was.
    """

    def __init__(self, frame_bytes: int = 0) -> None:
        self.encoder = Encoder(self._encode, frame_bytes)
        self.encoded: list[Event] = []

    def _encode(self, events: Sequence[Event]) -> Sequence[Piece]:
        first = len(self.encoded)
        self.encoded += events
        return [(self._piece(number, event), 1) for number, event in enumerate(events, first)]

    def _piece(self, number: int, event: Event) -> bytes:
        size = len(event.message) + len(event.data)
        return _HEAD.pack(number, size) + bytes(size)

    def decode(self, frame: bytes) -> list[Event]:
        """Return the events of a frame, the same objects that were encoded."""
        events = []
        at = 0
        while at < len(frame):
            number, size = _HEAD.unpack_from(frame, at)
            events.append(self.encoded[number])
            at += _HEAD.size + size
        return events


def admit(hub: Hub, hello: Hello, peer: str = "peer", token: str = "", *, publishing: bool = False) -> Admission:
    """Admit a client, where nothing has to be waited for."""
    admitting = hub.entrance.admit(hello, Caller(peer, token), publishing=publishing)
    try:
        admitting.send(None)
    except StopIteration as admitted:
        return cast("Admission", admitted.value)
    raise AssertionError("it waits")


class Client:
    """A client's session, and its writer, which moves when it is told to.

    Attributes:
        frames: what was written to it.
        received: the events in those.
        awake: whether its writer has something to do, as far as it was told.
        has_room: whether its line takes what a flush passes on.
        closed: whether its call has ended.
    """

    def __init__(
        self,
        hub: Hub,
        hello: Hello,
        wire: PlainWire,
        *,
        reader: bool = False,
        token: str = "",
        peer: str = "peer",
    ) -> None:
        self.frames: list[bytes] = []
        self.received: list[Event] = []
        self.awake = True
        self.has_room = False
        self.closed = False
        self._wire = wire
        self._read = 0
        self.session = Session(
            admit(hub, hello, peer, token), wire.encoder, wake=self._wake, write_now=self._write_now, reader=reader
        )

    @property
    def error(self) -> CallError | None:
        """What its call ends with."""
        return self.session.outbox.error

    @property
    def state(self) -> State:
        """What it is in its room."""
        return self.session._member.state

    def ask(self, *requests: Request) -> None:
        """Send requests in one frame."""
        done = 0
        while done < len(requests):
            done = self.session.handle(requests, done)

    def say(self, *texts: str) -> None:
        """Broadcast in one frame, without ids."""
        self.ask(*(Request(msg=text) for text in texts))

    def write(self) -> bool:
        """Let the writer take a step; return False if it waits to be woken."""
        if not self.awake:
            return False
        frame = self.session.take()
        if frame is not None:
            self._write(frame)
        else:
            self.awake = False
            if self.session.outbox.closed:
                self.close()
        return True

    def write_all(self) -> None:
        """Let the writer work until it waits."""
        while self.write():
            pass

    def new(self) -> list[Event]:
        """Return what was received since this was last asked."""
        new, self._read = self.received[self._read :], len(self.received)
        return new

    def texts(self) -> list[str]:
        """Return the texts of ``new()``."""
        return [event.message for event in self.new()]

    def answers(self) -> list[tuple[str, Ack | Error | None]]:
        """Return the id and the detail of each ACK and ERROR in ``new()``."""
        return [
            (event.id, event.detail if isinstance(event.detail, Ack | Error) else None)
            for event in self.new()
            if event.kind in (Kind.ACK, Kind.ERROR)
        ]

    def close(self) -> None:
        """End the call, as the transport does whatever happened."""
        self.closed = True
        self.awake = False
        self.session.close()

    def _wake(self) -> None:
        self.awake = not self.closed

    def _write(self, frame: bytes) -> None:
        self.frames.append(frame)
        self.received += self._wire.decode(frame)

    def _write_now(self, frame: bytes) -> bool:
        if self.has_room:
            self._write(frame)
        return self.has_room


class World:
    """A hub, its clients and their time."""

    def __init__(
        self,
        limits: Limits | None = None,
        broker: Broker | None = None,
        gatekeeper: Gatekeeper | None = None,
        presence: Presence | None = None,
    ) -> None:
        self.scheduler = ManualScheduler()
        broker = broker or MemoryBroker(NOTHING_KEPT)
        self.hub = Hub(broker, self.scheduler, limits or Limits(), presence=presence, gatekeeper=gatekeeper)
        self.batches = PlainWire(frame_bytes=1 << 20)
        self.singly = PlainWire()
        self.clients: list[Client] = []

    def join(
        self,
        name: str = "",
        *,
        batch: bool = True,
        reader: bool = False,
        token: str = "",
        peer: str = "peer",
        **hello: Any,
    ) -> Client:
        """Let a client in; ``hello`` is as for ``Hello``."""
        wire = self.batches if batch else self.singly
        client = Client(self.hub, Hello(name=name, batch=batch, **hello), wire, reader=reader, token=token, peer=peer)
        self.clients.append(client)
        return client

    def settle(self) -> None:
        """Let everything happen that can, every client reading as fast as it is written to."""
        for _ in range(100_000):
            if not any([self.scheduler.step(), *(client.write() for client in self.clients)]):
                return
        raise AssertionError("this never comes to rest")


class LaterOrder(MemoryOrder):
    """An order that answers when its broker is told to."""

    def __init__(self, room: str, broker: LaterBroker) -> None:
        super().__init__(room, broker)
        self.later = broker

    def submit(self, entries: Sequence[Entry]) -> None:
        """Keep the entries for later, unless there is a fault."""
        self.later.fail()
        self.later.asked.append((self, entries))

    def after_answers(self, callback: Callable[[], None]) -> None:
        """Call back when what was asked for before has been answered."""
        if self.later.asked:
            self.later.asked.append(callback)
        else:
            callback()

    def accept(self, entries: Sequence[Entry]) -> None:
        """Give entries their places."""
        super().submit(entries)

    def refuse(self, entries: Sequence[Entry], error: CallError) -> None:
        """Give entries no places."""
        assert self._deliver
        self._deliver([Refused(entries, error)])


class LaterBroker(MemoryBroker):
    """A broker that answers when it is told to.

    Attributes:
        fault: what every call raises from now on.
        asked: what is to be answered: entries of an order, or a call.
    """

    def __init__(self, retention: Retention = NOTHING_KEPT) -> None:
        super().__init__(retention)
        self.fault: CallError | None = None
        self.asked: deque[tuple[LaterOrder, Sequence[Entry]] | Callable[[], None]] = deque()

    async def open(self, room: str) -> MemoryOrder:
        """Begin a new order, unless there is a fault."""
        self.fail()
        return self._used.get(room) or LaterOrder(room, self)

    def accept(self) -> None:
        """Give everything that was asked for its place."""
        self._answer(LaterOrder.accept)

    def refuse(self, error: CallError) -> None:
        """Take nothing of what was asked for."""
        self._answer(lambda order, entries: order.refuse(entries, error))

    def fail(self) -> None:
        """Raise the fault, if there is one."""
        if self.fault:
            raise self.fault

    def _answer(self, answer: Callable[[LaterOrder, Sequence[Entry]], None]) -> None:
        while self.asked:
            asked = self.asked.popleft()
            if isinstance(asked, tuple):
                answer(*asked)
            else:
                asked()
