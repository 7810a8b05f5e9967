"""What servers say to each other may be doubled, and what is said to one may overtake what is said to all."""

from __future__ import annotations

import pytest

from .servers import ModelServer, Net, Said


@pytest.fixture
def net() -> Net:
    """No servers yet."""
    return Net()


def said_by(server: ModelServer) -> list[Said]:
    """Take what a server has said since this was last asked off the way."""
    server.settle()
    waiting = server.net.waiting
    said = [one for one in waiting if one.sender == server.name]
    waiting[:] = [one for one in waiting if one.sender != server.name]
    return said


def asked(net: Net) -> tuple[ModelServer, ModelServer]:
    """A server with a client, and another one that has just asked it for the list of the room."""
    a, b = net.add("a"), net.add("b", open_=False)
    a.join("ana")
    net.flush()
    b.open()
    return a, b


def test_a_notice_that_comes_twice_counts_once(net: Net) -> None:
    """Also if there are others in between."""
    a, b = net.add("a"), net.add("b")
    net.flush()
    ana = a.join("ana")
    (came,) = said_by(a)
    ana.leave()
    (left,) = said_by(a)
    for said in (came, left, came, left):
        b.hear(said.data)
    net.pass_time(3)
    assert (b.names, b.told) == ([], ["ana joined", "ana left"])


def test_what_came_after_a_list_stays(net: Net) -> None:
    """Though the list comes later."""
    a, b = asked(net)
    net.pass_on()
    (listed,) = said_by(a)
    bob = a.join("bob")
    for said in said_by(a):
        b.hear(said.data)
    b.hear(listed.data)
    net.pass_time(3)
    assert (b.names, b.told) == (["ana", "bob"], ["bob joined", "ana joined"])
    bob.leave()
    net.pass_time(3)
    assert b.names == ["ana"]


def test_what_a_list_knows_is_not_told_again(net: Net) -> None:
    """Though the notices come later."""
    a, b = asked(net)
    eva = a.join("eva")
    eva.rename("ada")
    a.settle()
    eva.rename("ida")
    notices = said_by(a)
    net.pass_on()
    for said in [*said_by(a), *notices]:
        b.hear(said.data)
    net.pass_time(3)
    assert (b.names, b.told) == (["ana", "ida"], ["ana joined", "ida joined"])


def test_a_list_knows_of_what_is_about_to_be_told(net: Net) -> None:
    """So that it is not told once more, as if it had happened later."""
    a, b = asked(net)
    (client,) = a.clients.values()
    client.rename("eva")
    client.rename("ada")
    net.pass_on()
    lists = [said for said in said_by(a) if said.receiver == "b"]
    for said in reversed(lists):
        b.hear(said.data)
    net.pass_time(3)
    assert (b.names, b.told) == (["ada"], ["ada joined"])


def test_a_list_from_before_a_hole_does_not_fill_it(net: Net) -> None:
    """Nor does it make anybody forget what came after the next one."""
    a, b = asked(net)
    net.waiting.clear()
    a.own.answer("b", ["lobby"])
    early = said_by(a)
    a.join("bob")
    said_by(a)  # is lost
    a.own.answer("b", ["lobby"])
    late = said_by(a)
    a.join("eva")
    for said in [*said_by(a), *early]:
        b.hear(said.data)
    assert not b.others.knows("lobby", ["a"])
    for said in late:
        b.hear(said.data)
    assert b.others.knows("lobby", ["a"])
    assert b.names == ["ana", "bob", "eva"]


@pytest.mark.parametrize("how", ["notice", "list", "beat"])
def test_who_asks_after_all_that_was_heard_is_later(net: Net, how: str) -> None:
    """However far the other server's stamps are ahead."""
    b, z = net.add("b"), net.add("z")
    net.flush()
    for _ in range(100):
        z.stamps.next()
    z.join("ana", "ana's")
    notices = said_by(z)
    if how == "beat":
        z.beat()
    elif how == "list":
        z.own.answer("b", ["lobby"])
    for said in notices if how == "notice" else said_by(z):
        b.hear(said.data)
    b.join("ana", "ana's")
    net.pass_time(3)
    assert (len(b.clients), z.clients) == (1, {})
    assert b.sessions == z.sessions == set(b.clients)
