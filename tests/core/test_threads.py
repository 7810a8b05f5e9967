"""The same promises when joins, leaves and publishes come from several threads at once, through the scheduler."""

from __future__ import annotations

import heapq
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import count
from queue import SimpleQueue
from typing import Any, TypeVar

import pytest

from bcast_grpc.broker.memory import MemoryBroker, MemoryOrder
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.hub import Hub
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.core.session import Session
from bcast_grpc.events import Ack, Entry, Event, Kind, Request

from .scheduler import ManualTimer, run
from .world import ALL, PlainWire, admit

T = TypeVar("T")

PATIENCE_S = 30
THREADS = 4


class LoopThread:
    """A core ``Scheduler`` with a loop in its own thread, whose time passes when there is nothing else to do."""

    def __init__(self) -> None:
        self._now = 0.0
        self._order = count()
        self._calls: list[tuple[float, int, ManualTimer]] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run)
        self.fault: BaseException | None = None
        self._thread.start()

    def time(self) -> float:
        """Return the time of the last call that was made."""
        return self._now

    def precise_time(self) -> float:
        """Return the same."""
        return self._now

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call back from the loop."""
        self.call_later(0, callback)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> ManualTimer:
        """Call back from the loop when nothing is due earlier."""
        with self._changed:
            timer = ManualTimer(self._now + delay_s, callback)
            heapq.heappush(self._calls, (timer.due, next(self._order), timer))
            self._changed.notify()
        return timer

    def start(self, work: Coroutine[Any, Any, None]) -> ManualTimer:
        """Do some work that waits for nothing."""
        return self.call_later(0, lambda: run(work))

    async def do(self, _: str, work: Callable[[], T]) -> T:
        """Do a small piece of work at once."""
        return work()

    def call(self, work: Callable[[], T]) -> T:
        """Do something in the loop; return what it returns, or raise what it raises."""
        done: Future[T] = Future()

        def do() -> None:
            try:
                done.set_result(work())
            except BaseException as fault:  # noqa: BLE001  # raised below
                done.set_exception(fault)

        self.call_soon(do)
        return done.result(PATIENCE_S)

    def stop(self) -> None:
        """End the loop when it has nothing more to do."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._calls and not self._stopping:
                    self._changed.wait()
                if not self._calls:
                    return
                self._now, _, timer = heapq.heappop(self._calls)
            if not timer.cancelled:
                try:
                    timer.callback()
                except BaseException as fault:  # noqa: BLE001  # told to the test
                    self.fault = self.fault or fault


class ThreadBroker(MemoryBroker):
    """A broker with a thread of its own, which has the loop answer."""

    def __init__(self, loop: LoopThread) -> None:
        super().__init__()
        self._loop = loop
        self.asked: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    async def open(self, room: str) -> MemoryOrder:
        """Return the order that is in use, or a new one."""
        return self._used.get(room) or ThreadOrder(room, self)

    def finish(self) -> None:
        """Answer everything, and end the thread."""
        self.asked.put(None)
        self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        while asked := self.asked.get():
            self._loop.call_soon(asked)


class ThreadOrder(MemoryOrder):
    """An order of such a broker."""

    def __init__(self, room: str, broker: ThreadBroker) -> None:
        super().__init__(room, broker)
        self._asked = broker.asked

    def submit(self, entries: Sequence[Entry]) -> None:
        """Keep the entries for the thread."""
        self._asked.put(partial(super().submit, entries))


class ThreadedClient:
    """A client whose requests come from any thread and whose writer works in the loop's.

    Attributes:
        ended: set when its call has ended.
    """

    def __init__(self, hub: Hub, loop: LoopThread, hello: Hello) -> None:
        self.received: list[Event] = []
        self.ended = threading.Event()
        self._loop = loop
        self._wire = PlainWire(frame_bytes=1 << 20)
        self.session = loop.call(lambda: self._open(hub, hello))
        loop.call_soon(self._write)

    def _open(self, hub: Hub, hello: Hello) -> Session:
        return Session(admit(hub, hello), self._wire.encoder, wake=lambda: self._loop.call_soon(self._write))

    def handle(self, *requests: Request) -> int:
        """Carry out some requests."""
        return self._loop.call(lambda: self.session.handle(requests))

    def close(self) -> None:
        """End the call."""
        self._loop.call(self.session.close)

    def _write(self) -> None:
        if self.ended.is_set():
            return
        while (frame := self.session.take()) is not None:
            self.received += self._wire.decode(frame)
        if self.session.outbox.closed:
            self.session.close()
            self.ended.set()

    def leave(self) -> None:
        """Leave, and wait until everything has come."""
        self._loop.call(self.session.leave)
        assert self.ended.wait(PATIENCE_S), "the leave did not end the call"

    def seqs(self) -> list[int]:
        """The places of the messages that came."""
        return [event.seq for event in self.received if event.kind is Kind.MESSAGE]

    def acks(self) -> list[tuple[str, Ack]]:
        """The acks that came, with their ids."""
        return [(event.id, event.detail) for event in self.received if isinstance(event.detail, Ack)]


@pytest.fixture
def loop(hasty_threads: None) -> Iterator[LoopThread]:
    """A loop in its own thread, and threads that are interrupted as often as possible."""
    loop = LoopThread()
    yield loop
    loop.stop()
    if loop.fault:
        raise loop.fault


def in_threads(work: Callable[[int], None]) -> None:
    """Do some work in several threads at once, and raise what went wrong in any."""
    faults: list[BaseException] = []
    started = threading.Barrier(THREADS)

    def run(number: int) -> None:
        started.wait()
        try:
            work(number)
        except BaseException as fault:  # noqa: BLE001  # raised below
            faults.append(fault)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    for fault in faults:
        raise fault
    assert not any(thread.is_alive() for thread in threads)


def test_messages_of_many_threads_have_one_order(loop: LoopThread) -> None:
    """All see the same messages in the same order, none lost or repeated, each acknowledged with its place."""
    hub = Hub(MemoryBroker(), loop, Limits())
    clients = [ThreadedClient(hub, loop, Hello(name=str(number))) for number in range(THREADS)]
    watching = ThreadedClient(hub, loop, Hello())
    each = 600

    def publish(number: int) -> None:
        for sent in range(0, each, 4):
            requests = [Request(msg=f"{number} {one}", id=str(one)) for one in range(sent, sent + 4)]
            assert clients[number].handle(*requests) == 4

    in_threads(publish)
    for client in [*clients, watching]:
        client.leave()
    total = THREADS * each
    assert watching.seqs() == list(range(1, total + 1))
    texts = {event.seq: event.message for event in watching.received}
    for number, client in enumerate(clients):
        acks = client.acks()
        assert [id_ for id_, _ in acks] == [str(one) for one in range(each)]
        own = [ack.seq for _, ack in acks]
        assert client.seqs() == sorted(set(range(1, total + 1)) - set(own))
        assert [texts[seq] for seq in own] == [f"{number}: {number} {one}" for one in range(each)]
        assert {(ack.queued, ack.refused) for _, ack in acks} == {(THREADS, 0)}


def test_a_broker_may_have_a_thread_of_its_own(loop: LoopThread) -> None:
    """What it has answered in the loop, between flushes, is neither lost nor repeated, and keeps its order."""
    broker = ThreadBroker(loop)
    hub = Hub(broker, loop, Limits())
    clients = [ThreadedClient(hub, loop, Hello()) for _ in range(THREADS)]
    watching = ThreadedClient(hub, loop, Hello())
    each = 1000

    def publish(number: int) -> None:
        for sent in range(each):
            clients[number].handle(Request(msg="x", id=str(sent)))

    in_threads(publish)
    broker.finish()
    for client in [*clients, watching]:
        client.leave()
    assert watching.seqs() == list(range(1, THREADS * each + 1))
    for client in clients:
        assert [id_ for id_, _ in client.acks()] == [str(sent) for sent in range(each)]


def test_clients_may_come_and_go_in_any_thread(loop: LoopThread) -> None:
    """Who is in gets everything from its welcome to its leave, and each arrival and departure is told once."""
    hub = Hub(MemoryBroker(), loop, Limits())
    watching = ThreadedClient(hub, loop, Hello(kinds=ALL))
    visits: list[ThreadedClient] = []

    def visit(number: int) -> None:
        for turn in range(60):
            client = ThreadedClient(hub, loop, Hello(name=f"{number}.{turn}", kinds=ALL))
            visits.append(client)
            client.handle(Request(msg="a", id="a"), Request(msg="b", id="b"))
            client.handle(Request("join", f"{number}.{turn}!"), Request(msg="c", id="c"), Request("who"))
            assert client.session.id in {member.session for member in hub.members("lobby")}
            assert list(hub.rooms) == ["lobby"]
            if turn % 5:
                client.leave()
            else:
                client.close()

    in_threads(visit)
    assert hub.clients == 1
    watching.leave()
    assert (hub.clients, list(hub.rooms)) == (0, [])

    assert watching.seqs() == list(range(1, 3 * len(visits) + 1))
    notices = Counter(
        (event.kind, event.message) for event in watching.received if event.kind in (Kind.JOINED, Kind.LEFT)
    )
    assert set(notices.values()) == {1}
    assert len(notices) == 3 * len(visits)
    for client in visits:
        if client.ended.is_set():
            assert [id_ for id_, _ in client.acks()] == ["a", "b", "c"]
            assert client.received[0].kind is Kind.WELCOME
            own = [ack.seq for _, ack in client.acks()]
            known = sorted([*client.seqs(), *own])
            assert known == list(range(client.received[0].seq + 1, known[-1] + 1))


def test_producers_in_any_thread_are_answered_once(loop: LoopThread) -> None:
    """An application may publish through the loop from where it likes, into rooms that come and go meanwhile."""
    hub = Hub(MemoryBroker(), loop, Limits())
    acks: list[Ack] = []

    def produce(number: int) -> None:
        for turn in range(50):
            answered = threading.Event()
            answers: list[Event] = []

            def answer(event: Event, answers: list[Event] = answers, answered: threading.Event = answered) -> None:
                answers.append(event)
                answered.set()

            listener = ThreadedClient(hub, loop, Hello()) if turn % 3 == number % 3 else None
            publisher = loop.call(lambda: Publisher(admit(hub, Hello(), str(number)), answer=answer))
            loop.call(partial(publisher.publish, Request(msg="x")))
            assert answered.wait(PATIENCE_S), "the producer was not answered"
            loop.call(publisher.close)
            if listener:
                listener.leave()
                assert listener.seqs()
            (event,) = answers
            assert isinstance(event.detail, Ack)
            acks.append(event.detail)

    in_threads(produce)
    assert len(acks) == len({(ack.epoch, ack.seq) for ack in acks}) == THREADS * 50
    assert (hub.clients, list(hub.rooms)) == (0, [])


def test_a_drain_may_come_from_any_thread(loop: LoopThread) -> None:
    """Everyone gets a CLOSING, whatever they are doing, and the hub is empty once."""
    hub = Hub(MemoryBroker(), loop, Limits())
    clients = [ThreadedClient(hub, loop, Hello(name=str(number))) for number in range(THREADS)]
    emptied = threading.Event()
    times: list[int] = []

    def on_empty() -> None:
        times.append(1)
        emptied.set()

    def work(number: int) -> None:
        for turn in range(50):
            clients[number].handle(Request(msg="x"))
            if number == 0 and turn == 25:
                loop.call(lambda: hub.close("bye", lambda: 1.0, on_empty))

    in_threads(work)
    assert emptied.wait(PATIENCE_S)
    assert times == [1]
    assert hub.clients == 0
    for client in clients:
        assert client.received[-1].kind is Kind.CLOSING
