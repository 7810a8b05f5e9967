"""The promises of the contract, whatever clients do and in whatever order things happen.

Hypothesis plays clients of two rooms against a model that only keeps lists: in each room, what was accepted, in order;
of each client, from where on it is due. Flushes and writes happen whenever hypothesis says so.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bcast_grpc.core.hello import Hello
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import NOBODY, Closing, Event, Kind, Request, Welcome

from .model import TO_ALL, Player, Producer, Room
from .owed import check_is_owed_nothing, check_producer
from .watch import Watch
from .world import ALL, Client, PlainWire, World, admit

# A flush takes four small messages, a queue holds sixteen of them, or not quite two large ones.
LIMITS = Limits(max_clients=5, max_message_bytes=900, queue_messages=16, queue_bytes=1600)
FRAME_BYTES = 60
MANY = 10_000
"""More steps than anything here can need."""

NOTICES = [Kind.WELCOME, Kind.JOINED, Kind.LEFT, Kind.PROGRESS]
NAMES = ["", "ana", "bob"]
ARRIVALS = st.tuples(
    st.builds(
        Hello,
        name=st.sampled_from(NAMES),
        room=st.sampled_from(["lobby", "lobby", "lobby", "dev"]),
        client=st.sampled_from(["", "", "c1", "c2"]),
        kinds=st.sets(st.sampled_from(NOTICES)).map(lambda kinds: frozenset({Kind.MESSAGE, *kinds})),
        batch=st.booleans(),
        echo=st.booleans(),
    ),
    st.sampled_from([False, False, False, True]),  # whether it only reads
)

TEXTS = ["a", "b" * 30, "c" * 900, ""]  # small, middling, more than a flush takes, an error
SAYINGS = st.one_of(
    st.lists(st.tuples(st.sampled_from(TEXTS), st.booleans()), min_size=1, max_size=4),
    st.lists(st.just(("a", True)), min_size=4, max_size=16),
)

REQUESTS = st.one_of(
    st.tuples(st.just("say"), SAYINGS),
    st.tuples(st.just("rename"), st.sampled_from(NAMES)),
    st.tuples(st.just("who"), st.none()),
    st.tuples(st.just("leave"), st.booleans()),
)


class Promises(RuleBasedStateMachine):
    """Clients of two rooms, and everything that may happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(LIMITS)
        self.wires = {True: PlainWire(frame_bytes=FRAME_BYTES), False: PlainWire()}
        self.rooms: dict[str, Room] = {}
        self.players: list[Player] = []
        self.ids = 0
        self.watch = Watch(self.wires)

    @property
    def hub_clients(self) -> list[Player]:
        """Who is connected."""
        return [player for player in self.players if player.present]

    @property
    def open(self) -> list[Player]:
        """Whose call has not ended."""
        return [player for player in self.players if not player.client.closed]

    @property
    def talking(self) -> list[Player]:
        """Who may still ask for something."""
        return [player for player in self.hub_clients if not player.client.session.outbox.closed and not player.reader]

    def new_id(self, wanted: bool = True) -> str:
        """Return an id that nobody has used."""
        self.ids += 1
        return f"id {self.ids}" if wanted else ""

    # --- coming

    @initialize(arrivals=st.lists(ARRIVALS, min_size=2, max_size=5))
    def begin(self, arrivals: list[tuple[Hello, bool]]) -> None:
        """Some are there when it begins."""
        for hello, reader in arrivals:
            self.come(hello, reader)

    @rule(arrival=ARRIVALS)
    def arrive(self, arrival: tuple[Hello, bool]) -> None:
        """A client comes, takes the place of one with the same id, or finds the server full."""
        self.come(*arrival)

    def come(self, hello: Hello, reader: bool) -> None:
        """Let a client in, and note what it is due from now on."""
        others = self.rooms[hello.room].players if hello.room in self.rooms else []
        replaced = next(
            (p for p in others if hello.client and p.hello.client == hello.client and p.reader is reader), None
        )
        if not replaced and len(self.hub_clients) == LIMITS.max_clients:
            with pytest.raises(CallError, match="SERVER_FULL"):
                Client(self.world.hub, hello, self.wires[hello.batch], reader=reader)
            return
        room = self.rooms.setdefault(hello.room, Room(hello.room))
        client = Client(self.world.hub, hello, self.wires[hello.batch], reader=reader)
        room.epoch = room.epoch or client.session.epoch
        if replaced:
            replaced.replaced, replaced.present = True, False
            room.players.remove(replaced)
        welcome = Welcome(client.session.id, room.name, room.epoch, False, len(room.players) + 1)
        key = hello.client or client.session.id
        player = Player(client, room, key, hello.name, hello, reader, len(room.log), welcome)
        room.players.append(player)
        room.announce(player, replaced.name if replaced else "")
        self.players.append(player)
        self.watch.players[client.session.outbox] = player

    # --- asking

    @rule(picks=st.lists(st.integers(0, 99), min_size=1, max_size=3), texts=SAYINGS)
    def talk(self, picks: list[int], texts: list[tuple[str, bool]]) -> None:
        """Clients that may still ask for something broadcast the same, one after the other."""
        for pick in picks:
            self.ask(pick, ("say", texts))

    @rule(pick=st.integers(0, 99), request=REQUESTS)
    def ask(self, pick: int, request: tuple[str, Any]) -> None:
        """A client that may still ask for something does."""
        if self.talking:
            what, value = request
            getattr(self, what)(self.talking[pick % len(self.talking)], value)

    def say(self, player: Player, texts: list[tuple[str, bool]]) -> None:
        """A client broadcasts, some of it with an id."""
        requests = [Request(msg=text, id=self.new_id(with_id)) for text, with_id in texts]
        player.client.ask(*requests)
        if player.left_at is not None:
            return
        head = player.client.session._room.head.seq
        for request in requests:
            if not request.msg:
                player.answers |= {request.id: Kind.ERROR} if request.id else {}
                continue
            if player.room.head == head:  # it was disconnected before: it does not read, and has asked for too much
                assert player.client.session.outbox.closed
                return
            seq = player.room.accept(player.key, player.name, request.msg)
            player.acks |= {request.id: seq} if request.id else {}

    def rename(self, player: Player, name: str) -> None:
        """A client says something and then, in the same frame, takes a name, or would take none."""
        id_ = self.new_id()
        player.client.ask(Request(msg="a"), Request("join", name, id=id_))
        if player.left_at is not None:
            return
        player.room.accept(player.key, player.name, "a")
        player.answers[id_] = Kind.ACK if name else Kind.ERROR
        if name:
            old_name, player.name = player.name, name
            player.room.announce(player, old_name)

    def who(self, player: Player, _: None) -> None:
        """A client asks who is here."""
        id_ = self.new_id()
        player.client.ask(Request("who", id=id_))
        if player.left_at is not None:
            return
        player.answers[id_] = Kind.MEMBERS

    def leave(self, player: Player, with_id: bool) -> None:
        """A client says that it leaves, or ends its side of the stream."""
        id_ = self.new_id(with_id)
        if with_id:
            player.client.ask(Request("leave", id=id_))
        else:
            player.client.session.leave()
        if player.left_at is None:
            player.left_at = len(player.room.log)
            player.answers |= {id_: Kind.ACK} if id_ else {}

    @rule(
        room=st.sampled_from(["lobby", "lobby", "dev"]), name=st.sampled_from(NAMES), own_id=st.sampled_from(["", "c1"])
    )
    def produce(self, room: str, name: str, own_id: str) -> None:
        """A producer without a stream sends a message."""
        model = self.rooms.setdefault(room, Room(room))
        answers: list[Event] = []
        publisher = Publisher(admit(self.world.hub, Hello(name, room, own_id)), answer=answers.append)
        model.epoch = model.epoch or publisher.epoch
        publisher.publish(Request(msg="p"))
        key = own_id or publisher.id
        model.producers.append(Producer(publisher, model, model.accept(key, name, "p"), key, answers))

    # --- going

    @rule(pick=st.integers(0, 99), producer=st.booleans())
    def vanish(self, pick: int, producer: bool) -> None:
        """A call ends, for whatever cause."""
        producers = [producer for room in self.rooms.values() for producer in room.producers]
        if producer and producers:
            self.end_producer(producers[pick % len(producers)])
        elif self.open:
            player = self.open[pick % len(self.open)]
            player.client.close()
            player.left_at = None
            self.note_ends()

    def end_producer(self, producer: Producer) -> None:
        """Let go of a producer's room."""
        check_producer(self.players, producer)
        producer.publisher.close()
        producer.room.producers.remove(producer)
        self.free(producer.room)

    def note_ends(self) -> None:
        """Do to the model what closing a call does to the room."""
        for player in self.players:
            if player.client.closed and player.present:
                player.present = False
                player.room.players.remove(player)
                if player.name:
                    player.room.tell(Kind.LEFT, player.key, f"{player.name} left")
                self.free(player.room)

    def free(self, room: Room) -> None:
        """Forget a room that nobody needs."""
        if not room.players and not room.producers:
            del self.rooms[room.name]

    # --- time

    @rule(steps=st.integers(1, 16), reading=st.sets(st.integers(0, 3)))
    def run(self, steps: int, reading: set[int]) -> None:
        """The event loop makes some calls, flushes among them, while some clients read and others do not."""
        for _ in range(steps):
            self.world.scheduler.step()
            for number, player in enumerate(self.players):
                if number % 4 in reading:
                    player.client.write_all()
            self.note_ends()

    @rule(pick=st.integers(0, 99), steps=st.sampled_from([1, 2, 99]))
    def write(self, pick: int, steps: int) -> None:
        """One writer takes some frames, or all."""
        if self.open:
            player = self.open[pick % len(self.open)]
            for _ in range(steps):
                player.client.write()
            self.note_ends()

    @rule(pick=st.integers(0, 99), has_room=st.booleans())
    def make_room(self, pick: int, has_room: bool) -> None:
        """What a flush has for a client can be written at once, or no longer."""
        if self.open:
            self.open[pick % len(self.open)].client.has_room = has_room

    @rule(then_settle=st.booleans())
    def progress(self, then_settle: bool) -> None:
        """The hub reports how far the rooms are; perhaps everything happens then that can."""
        self.world.hub.for_each_room(lambda room: room.report_progress())
        for room in self.rooms.values():
            if any(Kind.PROGRESS in player.hello.kinds for player in room.players):
                room.tell(Kind.PROGRESS, NOBODY.key, f"at {room.head}")
        if then_settle:
            self.settle()

    def settle(self) -> None:
        """Let everything happen that can, everyone reading; then nobody is owed anything."""
        self.come_to_rest()
        for player in self.players:
            check_is_owed_nothing(self.players, player)
        for room in self.rooms.values():
            for producer in room.producers:
                assert len(producer.answers) == 1
                check_producer(self.players, producer)

    def come_to_rest(self) -> None:
        """Run the loop and all writers until there is nothing more to do."""
        for _ in range(MANY):
            if not any([self.world.scheduler.step(), *(player.client.write() for player in self.open)]):
                return
            self.note_ends()
        raise AssertionError("this never comes to rest")

    # --- what holds at every moment

    @invariant()
    def bounds_are_kept(self) -> None:
        """No queue ever holds more than it may."""
        for player in self.players:
            outbox = player.client.session.outbox
            assert 0 <= outbox.queued_messages <= LIMITS.queue_messages
            assert 0 <= outbox.queued_bytes <= LIMITS.queue_bytes

    @invariant()
    def all_see_one_order(self) -> None:
        """What a client received is the beginning of what it is due: nothing missing, repeated, swapped, or its own."""
        for player in self.open:
            received = player.received
            assert received == player.due()[: len(received)]

    @invariant()
    def frames_are_as_they_were_asked_for(self) -> None:
        """Frames are joined up to their bound, and for a client without batches not at all."""
        for player in self.open:
            for frame in player.client.frames[-2:]:
                events = self.wires[player.hello.batch].decode(frame)
                assert len(events) == 1 or (player.hello.batch and len(frame) <= FRAME_BYTES)

    @invariant()
    def the_hub_knows_who_is_in(self) -> None:
        """Clients are counted from arrival to departure, and rooms are there while someone needs them."""
        assert self.world.hub.clients == len(self.hub_clients)
        assert set(self.world.hub.rooms) == set(self.rooms)

    @invariant()
    def calls_end_for_a_reason(self) -> None:
        """A call ends with REPLACED if it was, with SLOW_CONSUMER if its queue was full, and well if it left."""
        for player in self.open:
            outbox = player.client.session.outbox
            if outbox.closed and outbox.error:
                assert outbox.discarded
                assert outbox.error.code is ErrorCode.SLOW_CONSUMER or player.replaced
            elif outbox.closed:
                assert player.left_at is not None
            else:
                assert not player.replaced
                assert not player.refused

    @invariant()
    def messages_are_encoded_once(self) -> None:
        """However many clients share a wire format, a message is made into bytes once."""
        for wire in self.wires.values():
            messages = [id(event) for event in wire.encoded if event.kind is Kind.MESSAGE]
            assert len(messages) == len(set(messages))

    # --- the end

    def teardown(self) -> None:
        """A drain gives everyone what it is due and then a CLOSING, and leaves nothing behind."""
        try:
            self.drain()
        finally:
            self.watch.stop()

    def drain(self) -> None:
        """See ``teardown``."""
        self.settle()
        staying = [player for player in self.hub_clients if not player.client.session.outbox.closed]
        emptied: list[int] = []
        self.world.hub.close("bye", lambda: 1.5, lambda: emptied.append(self.world.hub.clients))
        self.come_to_rest()
        assert self.world.hub.clients == 0
        assert emptied == [0]
        for player in staying:
            last = player.client.received[-1]
            assert (last.kind, last.detail) == (Kind.CLOSING, Closing("bye", 1.5))
            assert player.client.error is not None
            assert player.client.error.code is ErrorCode.SHUTTING_DOWN
        for room in list(self.rooms.values()):
            for producer in list(room.producers):
                self.end_producer(producer)
        assert set(self.world.hub.rooms) == set()


Promises.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)

TestPromises = Promises.TestCase


assert {*TO_ALL, Kind.WELCOME} == ALL
