"""Several brokers on one NATS, what their clients say and hear, and what must be true of it in the end."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partialmethod
from itertools import count
from unittest import mock

from bcast_grpc.broker.base import Accepted, Began, Outcome, Refused, Repeated
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.nats.broker import Cluster, NatsBroker
from bcast_grpc.broker.nats.connection.target import Target
from bcast_grpc.broker.nats.log.actions import Action
from bcast_grpc.broker.nats.log.room_log import RoomLog
from bcast_grpc.broker.nats.order import LogOrder
from bcast_grpc.errors import CallError
from bcast_grpc.events import Author, Entry, Event

KEEPING = Retention(messages=100_000, bytes=1 << 30, age_s=3600, dedup_s=120)
PATIENCE_S = 60


class Proxy:
    """Something between a broker and NATS that cuts connections, or holds up all that goes through them."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self._far = port
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._far)
        except OSError:
            writer.transport.abort()
            return
        self._ends |= {writer, far_writer}
        for source, sink in [(reader, far_writer), (far_reader, writer)]:
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while some := await reader.read(65536):
                await self._flows.wait()
                writer.write(some)
                await writer.drain()
        self._ends.discard(writer)
        writer.transport.abort()

    def cut(self) -> None:
        """Reset all connections."""
        for writer in list(self._ends):
            with suppress(OSError, AttributeError):
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(1, 13, linger)  # SOL_SOCKET, SO_LINGER
            writer.transport.abort()

    def hold(self) -> None:
        """Let nothing through, as a black hole does."""
        self._flows.clear()

    def let_go(self) -> None:
        """Let everything through again."""
        self._flows.set()

    async def close(self) -> None:
        """End."""
        if self._server:
            self._server.close()
        self._flows.set()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Client:
    """Says messages at one server after the other, and knows where each was accepted.

    Attributes:
        acked: for each id, the epochs and places of its acks.
        refused: the ids that nobody can say anything of.
    """

    def __init__(self, key: str) -> None:
        self.author = Author(f"session {key}", key, key)
        self.acked: dict[str, set[tuple[str, int]]] = {}
        self.refused: list[str] = []
        self.said: dict[str, Entry] = {}
        self._numbers = count(1)

    def entry(self) -> Entry:
        """Return the next message."""
        id_ = f"{self.author.key}-{next(self._numbers)}"
        self.said[id_] = Entry(self.author, f"text of {id_}", b"x" * 40, id_)
        return self.said[id_]


class Server:
    """One broker, its room, and what the room was told.

    Attributes:
        told: for each epoch that was told, the first and the following ids of messages, by their places.
        lost: why the room ended.
    """

    def __init__(self, number: int, cluster: str, port: int, *, direct: Sequence[str] = ()) -> None:
        self.number = number
        self.proxy = Proxy(port)
        self.told: dict[str, dict[int, str]] = {}
        self.lost: list[CallError] = []
        self.faults: list[str] = []
        self.broker: NatsBroker | None = None
        self.order: LogOrder | None = None
        self.clients: dict[str, Client] = {}
        self._cluster = cluster
        self._direct = direct
        self._epoch = ""
        self._head = 0

    async def start(self) -> None:
        """Start a new incarnation, which knows nothing."""
        if not self.proxy.port:
            await self.proxy.start()
        servers = self._direct or [f"nats://127.0.0.1:{self.proxy.port}"]
        replicas = 3 if self._direct else 1
        broker = NatsBroker(Cluster(Target(servers), self._cluster, replicas=replicas), KEEPING)
        await broker.start(lambda _: None)
        order = await broker.open("hot")
        self._epoch, self._head = order.epoch, order.head
        order.begin(self._deliver, self.lost.append)
        self.broker, self.order = broker, order

    def say(self, client: Client, entries: Sequence[Entry]) -> None:
        """Have a client say something here."""
        self.clients[client.author.session] = client
        if self.order:
            self.order.submit(entries)

    async def crash(self) -> None:
        """End as a process that is killed does."""
        broker, self.broker, self.order = self.broker, None, None
        self.proxy.cut()
        if broker:
            broker._orders.clear()  # nothing is waited for
            await broker.close()

    async def close(self) -> None:
        """End."""
        if self.broker:
            await self.broker.close()
        await self.proxy.close()

    def _deliver(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            match outcome:
                case Began(epoch, head):
                    self._epoch, self._head = epoch, head
                case Accepted(entries, events, _):
                    for entry, event in zip(entries, events, strict=True):
                        if event.seq != self._head + 1:
                            self.faults.append(f"{event.seq} follows {self._head} in {self._epoch}")
                        self._head = event.seq
                        self.told.setdefault(self._epoch, {})[event.seq] = event.message
                        if entry:
                            self._ack(entry, event.seq)
                case Repeated(entries, places):
                    for entry, place in zip(entries, places, strict=True):
                        self._ack(entry, place.seq)
                case Refused(entries, _):
                    for entry in entries:
                        self.clients[entry.author.session].refused.append(entry.id)

    def _ack(self, entry: Entry, seq: int) -> None:
        acked = self.clients[entry.author.session].acked
        acked.setdefault(entry.id, set()).add((self._epoch, seq))


class Traffic:
    """Clients that say some messages a second at several servers, and send a few again elsewhere."""

    def __init__(self, servers: Sequence[Server], seed: int = 0) -> None:
        self.servers = servers
        self.clients = [Client(f"c{server.number}") for server in servers]
        self._random = random.Random(seed)
        self._running = True

    async def run(self, *, pause_s: float = 0.01, batch: int = 3) -> None:
        """Say something until ``stop``."""
        while self._running:
            for server, client in zip(self.servers, self.clients, strict=True):
                if server.order and not server.order.full:
                    server.say(client, [client.entry() for _ in range(batch)])
                if client.said and self._random.random() < 0.1:
                    again = self._random.choice(list(client.said.values())[-200:])
                    other = self._random.choice(self.servers)
                    if other.order:
                        other.say(client, [again])
            await asyncio.sleep(pause_s)  # the pace

    def stop(self) -> None:
        """Say nothing more."""
        self._running = False

    async def settle(self) -> None:
        """Say everything again that was never acknowledged, until all is, and all servers are level."""
        async with asyncio.timeout(PATIENCE_S):
            while missing := [
                (client, entry)
                for client in self.clients
                for id_, entry in client.said.items()
                if id_ not in client.acked
            ]:
                for client, entry in missing:
                    self.servers[0].say(client, [entry])
                await until(lambda: not (self.servers[0].order and self.servers[0].order.unanswered))
            await until(lambda: len({server.order and server.order.head for server in self.servers}) == 1)

    async def check(self, *, epochs: int = 1) -> None:
        """Check what every server was told and acknowledged against the log itself."""
        reader = Server(99, self.servers[0]._cluster, self.servers[0].proxy._far, direct=self.servers[0]._direct)
        await reader.start()
        try:
            assert reader.order
            log = {event.seq: event.message for event in await read_all(reader.order)}
            last = reader.order.epoch
        finally:
            await reader.close()
        assert list(log) == list(range(1, len(log) + 1))
        assert len(set(log.values())) == len(log), "an id is in the log twice"
        seen = {epoch for server in self.servers for epoch in server.told}
        assert len(seen | {last}) <= epochs
        for server in self.servers:
            assert server.faults == []
            assert all(log[seq] == text for seq, text in server.told.get(last, {}).items())
        for client in self.clients:
            assert client.acked.keys() == client.said.keys()
            for id_, places in client.acked.items():
                here = {seq for epoch, seq in places if epoch == last}
                assert len(here) <= 1
                assert all(log[seq] == client.said[id_].message for seq in here), id_


async def read_all(order: LogOrder) -> list[Event]:
    """Read all messages that an order keeps, from memory and from the log, as a client that comes back gets them."""
    read: list[Event] = []
    while (after := read[-1].seq if read else order.oldest - 1) < order.head:
        answer: asyncio.Future[Sequence[Event] | CallError] = asyncio.get_running_loop().create_future()
        order.read(after, 256, 256 * 1024, answer.set_result)
        events = await asyncio.wait_for(answer, PATIENCE_S)
        assert not isinstance(events, CallError), events
        read += events
    return read


async def until(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110  # many things may make it so
            await asyncio.sleep(0.02)


@contextmanager
def deaf(log: RoomLog, *inputs: str) -> Iterator[None]:
    """Keep some inputs from one log."""

    def take(self: RoomLog, *args: object, heard: Callable[..., list[Action]]) -> list[Action]:
        return [] if self is log else heard(self, *args)

    with ExitStack() as stack:
        for name in inputs:
            heard = partialmethod(take, heard=getattr(RoomLog, name))
            stack.enter_context(mock.patch.object(RoomLog, name, heard))
        yield
