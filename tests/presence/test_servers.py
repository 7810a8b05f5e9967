"""Servers agree on who is in a room, whatever becomes of what they say to each other."""

from __future__ import annotations

from collections import Counter
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.core.presence import Present
from bcast_grpc.events import Author, Entry

from .servers import ROOM, Client, ModelServer, Net


@pytest.fixture
def net() -> Net:
    """No servers yet."""
    return Net()


def say(client: Client, text: str, *others: ModelServer) -> None:
    """Have a client's message in its own server's order, and in those of some others."""
    for server in (client.server, *others):
        server.order.submit([Entry(client.present.author, text)])


def test_who_comes_and_goes_is_told_at_the_others(net: Net) -> None:
    """And listed."""
    a, b = net.add("a"), net.add("b")
    ana, _ = a.join("ana"), b.join("bob")
    a.join("")
    net.flush()
    assert a.names == b.names == ["", "ana", "bob"]
    ana.rename("eva")
    net.flush()
    assert b.names == ["", "bob", "eva"]
    ana.leave()
    net.flush()
    assert a.names == b.names == ["", "bob"]
    assert (a.told, b.told) == (["bob joined"], ["ana joined", "ana is now eva", "eva left"])


def test_who_opens_a_room_asks_who_is_there(net: Net) -> None:
    """Nobody has joined by that."""
    a, b = net.add("a"), net.add("b", open_=False)
    a.join("ana"), a.join("bob")
    net.flush()
    b.open()
    assert not b.others.knows(ROOM, {"a"})
    net.flush()
    assert b.others.knows(ROOM, {"a"})
    assert b.names == ["ana", "bob"]
    c = net.add("c", open_=False)
    assert not c.others.knows(ROOM, {"a", "b"})
    c.open()
    net.flush()
    assert c.others.knows(ROOM, {"a", "b"})
    assert c.names == ["ana", "bob"]


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_what_gets_lost_is_noticed(net: Net, lost: int) -> None:
    """By the next notice, or by the next beat."""
    a, b = net.add("a"), net.add("b")
    net.flush()
    ana = a.join("ana")
    net.flush()
    for act in (ana.leave, lambda: a.join("bob"), lambda: a.join("eva")):
        act()
        a.settle()
    assert len(net.waiting) == 3
    del net.waiting[lost]
    net.flush()
    net.pass_time(2.1)
    assert b.names == ["bob", "eva"]
    assert Counter(b.told) == Counter(["ana joined", "ana left", "bob joined", "eva joined"])


def test_a_departure_comes_after_the_last_message(net: Net) -> None:
    """Where that is late, the departure waits for it, for two seconds at most; meanwhile the client is listed."""
    a, b = net.add("a"), net.add("b")
    ana, bob = a.join("ana"), a.join("bob")
    net.flush()
    say(ana, "adiós")
    ana.leave()
    net.pass_time(1)
    assert b.told == ["ana joined", "bob joined"]
    assert b.names == ["ana", "bob"]
    b.order.submit([Entry(ana.present.author, "adiós")])
    net.pass_time(0.1)
    assert b.told[2:] == ["ana left"]
    say(bob, "adiós")
    bob.leave()
    net.pass_time(1.9)
    assert b.told[3:] == []
    net.pass_time(0.2)
    assert (b.told[3:], b.names) == (["bob left"], [])


def test_who_comes_back_under_its_name_has_left_before(net: Net) -> None:
    """At whatever server it comes back, without an id of its own, and though its last message is late."""
    a, b, c = net.add("a"), net.add("b"), net.add("c")
    ana, bob = a.join("ana"), a.join("bob")
    net.flush()
    for client in (ana, bob):
        say(client, "adiós")
        client.leave()
    net.flush()
    b.join("ana")
    c.join("bob")
    net.flush()
    assert b.told[2:] == ["ana left", "bob left", "bob joined"]
    assert c.told[2:] == ["bob left", "ana left", "ana joined"]


def test_a_client_that_comes_to_another_server_has_its_place(net: Net) -> None:
    """Its earlier stream ends; nobody is told, but of another name."""
    a, b, c = net.add("a"), net.add("b"), net.add("c")
    ana = a.join("ana", "ana's")
    net.flush()
    b.join("ana", "ana's")
    net.flush()
    assert a.replaced == [ana.present.author.session]
    assert (a.clients, a.names, b.names, c.names) == ({}, ["ana"], ["ana"], ["ana"])
    c.join("eva", "ana's")
    net.flush()
    assert b.clients == {}
    net.pass_time(5)
    assert a.names == b.names == c.names == ["eva"]
    assert (a.told, b.told, c.told) == (["ana is now eva"], ["ana joined", "ana is now eva"], ["ana joined"])


def test_a_reader_and_a_client_with_the_same_key_are_two(net: Net) -> None:
    """As on one server."""
    a, b = net.add("a"), net.add("b")
    a.join("ana", "ana's")
    b.join("ana", "ana's", reader=True)
    net.flush()
    assert a.names == b.names == ["ana", "ana"]


def test_the_departure_of_the_earlier_stream_may_be_heard_first(net: Net) -> None:
    """A third server is told by two; it waits a moment for the other."""
    a, b, c = net.add("a"), net.add("b"), net.add("c")
    a.join("ana", "ana's")
    net.flush()
    b.join("ana", "ana's")
    b.settle()
    to_a, to_c = net.waiting
    net.waiting = [to_a]
    net.flush()
    assert c.names == ["ana"]
    net.waiting = [to_c]
    net.pass_time(3)
    assert (c.names, c.told) == (["ana"], ["ana joined"])
    assert c.sessions == set(b.clients)


def test_two_at_the_same_moment_leave_one(net: Net) -> None:
    """All servers find the same one, though neither had heard of the other."""
    a, b, c = net.add("a"), net.add("b"), net.add("c")
    a.join("ana", "ana's"), b.join("ana", "ana's")
    net.flush()
    assert (len(a.clients), len(b.clients)) == (0, 1)
    assert a.sessions == b.sessions == c.sessions == set(b.clients)


def test_the_clients_of_a_dead_server_have_left(net: Net) -> None:
    """Each is told once; who has come back elsewhere has not left."""
    a, b, c = net.add("a"), net.add("b"), net.add("c")
    a.join("ana", "ana's"), a.join("bob"), a.join("")
    net.flush()
    del net.servers["a"]
    b.join("ana", "ana's")
    net.flush()
    for server in (b, c):
        server.others.gone("a")
        server.others.gone("a")
    net.pass_time(10)
    assert b.names == c.names == ["ana"]
    assert c.told == ["ana joined", "bob joined", "bob left"]


def test_who_was_cut_off_is_heard_again(net: Net) -> None:
    """Its clients have left, and join again."""
    a, b = net.add("a"), net.add("b")
    a.join("ana")
    b.join("bob")
    net.flush()
    b.others.gone("a")
    a.join("eva")
    a.settle()
    net.waiting.clear()
    net.pass_time(2.1)
    assert a.names == b.names == ["ana", "bob", "eva"]
    assert Counter(b.told) == Counter(["ana joined", "ana left", "ana joined", "eva joined"])
    assert a.told == ["bob joined"]


def test_a_long_list_comes_in_parts(net: Net) -> None:
    """Each of which NATS takes; if one gets lost, the list is asked for again."""
    a = net.add("a")
    for number in range(6000):
        a.join(f"name {number} {'x' * 40}")
    net.flush()
    b = net.add("b")
    net.flush()
    assert len(b.names) == 6000
    net.add("c")
    while not any(len(said.data) > 1000 for said in net.waiting):
        a.beat()
        net.pass_on()
    parts = [said for said in net.waiting if said.receiver == "c" and len(said.data) > 1000]
    assert len(parts) > 2
    assert max(len(said.data) for said in parts) <= 256 * 1024
    net.waiting.remove(parts[1])
    net.flush()
    assert net.servers["c"].names == []
    net.pass_time(1)
    assert len(net.servers["c"].names) == 6000


def test_many_rooms_need_few_messages(net: Net) -> None:
    """Lists of small rooms share one."""
    a = net.add("a")
    net.add("b")
    net.waiting.clear()
    a.own.answer("b", [f"room {number}" for number in range(1000)])
    assert len(net.waiting) <= 2


def test_a_room_that_is_closed_is_forgotten(net: Net) -> None:
    """And asked for anew when it is opened again."""
    a, b = net.add("a"), net.add("b")
    ana = a.join("ana")
    net.flush()
    b.close()
    ana.leave()
    a.join("bob")
    net.flush()
    b.open()
    net.flush()
    assert (b.names, b.told) == (["bob"], ["ana joined", "bob joined"])


ACTS = st.lists(st.tuples(st.sampled_from("jjjkllrpppPdDxot"), st.integers(0, 5), st.integers(0, 5)), max_size=60)


@given(ACTS)
def test_all_find_the_same_clients(acts: list[tuple[str, int, int]]) -> None:
    """Whatever is lost, doubled or comes in another order; and each name is told as often as it was there."""
    net = Net()
    servers = [net.add(name) for name in "abc"]
    net.flush()
    clients: list[Client] = []
    names = count()
    for act, who, which in acts:
        server = servers[who % 3]
        mine = list(server.clients.values())
        match act:
            case "j":
                clients.append(server.join(f"n{len(clients)}"))
            case "k":
                clients.append(server.join(f"k{which % 2}", f"key {which % 2}"))
            case "l" if mine:
                mine[which % len(mine)].leave()
            case "r" if mine and not mine[which % len(mine)].present.author.name.startswith("k"):
                mine[which % len(mine)].rename(f"r{next(names)}")
            case "p" | "P" if net.waiting:
                net.pass_on(0 if act == "p" else (who + 7 * which) % len(net.waiting))
            case "d" if net.waiting:
                net.pass_on(which % len(net.waiting), keep=True)
            case "D" if net.waiting:
                net.waiting.pop(which % len(net.waiting))
            case "x":
                servers[which % 3].others.gone(server.name)
            case "o" if not server.clients:
                server.close()
                server.open()
                server.told.clear()
            case "t":
                net.now_s += 0.3
                for one in servers:
                    one.tick()
        for one in servers:
            one.settle()
    net.pass_time(6)
    there = {session for server in servers for session in server.clients}
    assert [server.sessions for server in servers] == [there] * 3
    keys = Counter(client.present.author.key for server in servers for client in server.clients.values())
    assert set(keys.values()) <= {1}
    for server in servers:
        check_told(server, servers)


def check_told(server: ModelServer, servers: list[ModelServer]) -> None:
    """Nobody joins who is there, nor leaves who is not; in the end those are there who are at the others."""
    there: set[str] = set()
    for text in server.told:
        name, rest = text.split(" ", 1)
        if name.startswith("k"):
            continue
        if rest != "joined":
            assert name in there, server.told
            there.remove(name)
        if rest != "left":
            new_name = name if rest == "joined" else rest.removeprefix("is now ")
            assert new_name not in there, server.told
            there.add(new_name)
    others = [one.clients.values() for one in servers if one is not server]
    names = {client.present.author.name for clients in others for client in clients}
    assert there == {name for name in names if not name.startswith("k")}


def test_lists_of_others_cannot_do_harm(net: Net) -> None:
    """What cannot be a client is left out."""
    a, b = net.add("a"), net.add("b")
    a.put(Present(Author("s" * 100, "ana", "key"), 0))
    a.put(Present(Author("s1", "n" * 5000, "key"), 0))
    a.put(Present(Author("s2", "eva", "s2"), 0, asked=2**63))
    net.flush()
    assert b.names == []
    assert b.stamps.next() < 1000
