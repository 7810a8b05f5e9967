"""Servers that tell each other of their clients, without a network: what they say waits until it is passed on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from bcast_grpc.broker.memory import MemoryBroker, MemoryOrder
from bcast_grpc.core.presence import Present, Watcher
from bcast_grpc.events import Author, Event, Kind
from bcast_grpc.log.v1 import peers_pb2 as pb
from bcast_grpc.presence.departures import Departures
from bcast_grpc.presence.others import Others
from bcast_grpc.presence.own import Own
from bcast_grpc.presence.roll import Roll
from bcast_grpc.presence.rooms import Rooms
from bcast_grpc.presence.stamps import Stamps

ROOM = "lobby"

_sessions = count(1)


@dataclass
class Said:
    """Something on its way."""

    sender: str
    receiver: str
    data: bytes


class Net:
    """Servers, what is on its way between them, and their time.

    Attributes:
        now_s: the time.
        waiting: what is on its way.
        servers: those that run.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waiting: list[Said] = []
        self.servers: dict[str, ModelServer] = {}

    def add(self, name: str, *, open_: bool = True) -> ModelServer:
        """Start a server, with the room open."""
        server = self.servers[name] = ModelServer(name, self)
        server.beat()
        if open_:
            server.open()
        return server

    def pass_on(self, index: int = 0, *, keep: bool = False) -> None:
        """Deliver one of what is on its way; with ``keep`` it comes once more."""
        said = self.waiting[index] if keep else self.waiting.pop(index)
        if receiver := self.servers.get(said.receiver):
            receiver.hear(said.data)

    def flush(self) -> None:
        """Deliver everything, in order."""
        for _ in range(100_000):
            for server in self.servers.values():
                server.settle()
            if not self.waiting:
                return
            self.pass_on()
        raise AssertionError("this never comes to rest")

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with beats and ticks, and deliver everything."""
        self.flush()
        for tenth in range(round(seconds * 10)):
            self.now_s += 0.1
            for server in list(self.servers.values()):
                server.tick(beat=tenth % 20 == 0)
            self.flush()


@dataclass
class Client:
    """A client of one of the servers."""

    present: Present
    server: ModelServer

    def leave(self) -> None:
        """Leave."""
        self.server.leave(self)

    def rename(self, name: str) -> None:
        """Take another name."""
        self.present = self.present._replace(author=self.present.author._replace(name=name))
        self.server.put(self.present)


@dataclass
class ModelServer:
    """One server, as a hub uses its presence.

    Attributes:
        told: what its clients were told of the others.
        clients: its own.
    """

    name: str
    net: Net
    told: list[str] = field(default_factory=list)
    clients: dict[str, Client] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rooms = Rooms(self.name)
        self.stamps = Stamps(lambda: 0)
        self._soon: list[Callable[[], None]] = []
        self.own = Own(self.rooms, self.stamps, self.say, self._soon.append, lambda: self.net.now_s, lambda: 1 << 20)
        self._later: list[Callable[[], None]] = []
        self.departures = Departures(
            self.rooms, lambda _, callback: self._later.append(callback), lambda: self.net.now_s
        )
        self.others = Others(self.rooms, self.stamps, self.departures, self._ask, lambda: self.net.now_s)
        self.order = MemoryOrder(ROOM, MemoryBroker())
        self.order.epoch = "epoch"

    def open(self) -> None:
        """Open the room."""
        roll = self.rooms.rolls[ROOM] = Roll()
        for present in self.own.presents(ROOM):
            roll.put(self.name, present)
        self.rooms.watchers[ROOM] = Watcher(self._tell, self._replace, self.order)
        self.others.open(ROOM)

    def close(self) -> None:
        """Close the room."""
        del self.rooms.rolls[ROOM], self.rooms.watchers[ROOM]
        self.others.close(ROOM)

    def join(self, name: str, key: str = "", *, reader: bool = False) -> Client:
        """Let a client in, as a hub does."""
        session = f"s{next(_sessions)}"
        asked = self.stamps.next()
        present = Present(Author(session, name, key or session), next(_sessions), reader, asked)
        for old in [one for one in self.clients.values() if key and one.present.author.key == key]:
            if old.present.reader == reader:
                self.leave(old, replaced=True)
        client = self.clients[session] = Client(present, self)
        self.put(present)
        return client

    def put(self, present: Present) -> None:
        """Tell of a client."""
        self.departures.hurry(ROOM, present.author.name)
        self.rooms.rolls[ROOM].put(self.name, present)
        self.own.put(ROOM, present)

    def leave(self, client: Client, *, replaced: bool = False) -> None:
        """Let a client leave."""
        session = client.present.author.session
        if self.clients.pop(session, None):
            if roll := self.rooms.rolls.get(ROOM):
                roll.drop(self.name, client.present)
            self.own.drop(ROOM, session, replaced=replaced)

    @property
    def names(self) -> list[str]:
        """The names of all who are here."""
        return sorted(member.name for member in self.rooms.rolls[ROOM].members())

    @property
    def sessions(self) -> set[str]:
        """The sessions of all who are here."""
        return {member.session for member in self.rooms.rolls[ROOM].members()}

    def _tell(self, event: Event) -> None:
        assert event.kind in (Kind.JOINED, Kind.LEFT)
        self.told.append(event.message)

    def _replace(self, session: str) -> None:
        self.replaced.append(session)
        if client := self.clients.get(session):
            self.leave(client, replaced=True)

    def say(self, message: pb.PeerMessage, to: str = "") -> None:
        """Put something on its way."""
        message.version, message.server = 1, self.name
        data = message.SerializeToString()
        for name in [to] if to else [name for name in self.net.servers if name != self.name]:
            self.net.waiting.append(Said(self.name, name, data))

    def _ask(self, server: str, rooms: object) -> None:
        self.say(pb.PeerMessage(ask=pb.Ask(rooms=rooms)), server)  # type: ignore[arg-type]

    def hear(self, data: bytes) -> None:
        """Take what another server says."""
        message = pb.PeerMessage.FromString(data)
        if message.HasField("ask"):
            self.own.answer(message.server, message.ask.rooms)
        self.others.heard(message)

    def beat(self) -> None:
        """Beat."""
        for message in self.own.beat():
            self.say(message)

    def settle(self) -> None:
        """Do what is to be done in the loop's next pass."""
        soon, self._soon[:] = list(self._soon), []
        for callback in soon:
            callback()

    def tick(self, *, beat: bool = False) -> None:
        """Do what is due."""
        later, self._later = self._later, []
        for callback in later:
            callback()
        self.own.tick(self.net.now_s)
        self.others.tick(self.net.now_s)
        if beat:
            self.beat()
