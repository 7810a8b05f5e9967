"""Clients are spread evenly, and senders keep their schedule."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.bench.arguments import Options
from bcast_grpc.bench.payload import MAX_SIZE, MIN_SIZE, request_bytes
from bcast_grpc.bench.plan import Plan, Schedule
from bcast_grpc.bench.spread import Spread
from bcast_grpc.client.address import Address
from bcast_grpc.core.limits import Limits
from bcast_grpc.wire.protobuf import MAX_REQUEST_BYTES


def plan(**options: int) -> Plan:
    """A plan of such a load."""
    return Plan(Options(target="here:1", **options), run=0xC0FFEE)  # type: ignore[arg-type]  # whole numbers, all of these


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Any of them."""
    clients = draw(st.integers(1, 60))
    few = st.integers(1, clients)
    return plan(clients=clients, senders=draw(few), rooms=draw(few), processes=draw(few))


@given(plans())
def test_clients_are_spread_evenly(plan: Plan) -> None:
    """Each in one process and one room; senders too."""
    options = plan.options
    places = [plan.clients(process) for process in range(options.processes)]
    assert sorted(client for place in places for client in place) == list(range(options.clients))
    for sizes in (
        [len(place) for place in places],
        [sum(map(plan.sends, place)) for place in places],
        [*Counter(map(plan.room, range(options.clients))).values()],
    ):
        assert max(sizes) - min(sizes) <= 1


@given(plans(), st.integers(1, 5))
def test_clients_of_a_room_are_spread_over_the_servers(plan: Plan, count: int) -> None:
    """Evenly; each tries all servers, those that failed last."""
    servers = [Address(f"s{n}:1") for n in range(count)]
    spread = Spread(plan, servers)
    orders = [spread.order(client) for client in range(plan.options.clients)]
    assert all(sorted(order) == servers for order in orders)
    for room in set(map(plan.room, range(plan.options.clients))):
        first = Counter(order[0] for client, order in enumerate(orders) if plan.room(client) == room)
        assert max(first.values()) - min(first[server] for server in servers) <= 1
    spread.put_last(servers[0], 0.0)
    assert all(spread.order(client)[-1] == servers[0] for client in range(plan.options.clients))


@given(plans())
def test_one_hears_the_senders_of_ones_room(plan: Plan) -> None:
    """Those and no others."""
    for client in range(plan.options.clients):
        near = [other for other in range(plan.options.senders) if plan.room(other) == plan.room(client)]
        assert list(plan.senders_near(client)) == near


def test_rooms_are_of_this_run() -> None:
    """Their name says which."""
    assert plan(clients=4, rooms=2).room(3) == "bench-00c0ffee-1"


@given(st.integers(MIN_SIZE, MAX_SIZE), st.integers(1, 100_000), st.integers(1, 1000))
def test_a_frame_fits_into_what_a_server_takes(size: int, batch: int, senders: int) -> None:
    """Of however many and however large messages; there is always something in flight, and less than a queue holds."""
    one = plan(size=size, batch=batch, senders=senders, clients=senders)
    assert 1 <= one.batch <= batch
    assert one.batch * request_bytes(size) <= MAX_REQUEST_BYTES
    assert one.window >= 1
    in_flight = senders * one.window * one.batch * size
    assert in_flight <= Limits().queue_bytes // 2 or one.window * one.batch == 1


def test_senders_take_turns() -> None:
    """At equal intervals, whatever the server does: what is late keeps the time at which it was to be sent."""
    options = Options(target="here:1", senders=2, rate=10.0)
    first, second = (Schedule.of(options, sender, 1000) for sender in range(2))
    assert [first.time_ns(0), second.time_ns(0), first.time_ns(1)] == [1000, 100_001_000, 200_001_000]
    assert first.due(0, 64, 999) == []
    assert first.due(0, 64, 400_001_000) == [1000, 200_001_000, 400_001_000]
    assert first.due(1, 1, 400_001_000) == [200_001_000]


def test_without_a_rate_as_many_as_fit_are_due_at_once() -> None:
    """Sent when they are sent."""
    assert Schedule.of(Options(target="here:1"), 3, 1000).due(5, 3, 2000) == [2000, 2000, 2000]
