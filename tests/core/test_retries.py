"""What is sent again is accepted once."""

from __future__ import annotations

from bcast_grpc.events import Ack, Kind, Request

from .received import seqs, world_of


def test_what_is_sent_again_is_acknowledged_again() -> None:
    """Within a session, and with a client's own id over another one; the others hear it once."""
    world = world_of()
    bob = world.join()
    ana = world.join("ana", client="c")
    ana.ask(Request(msg="x", id="1"), Request(msg="x", id="1"), Request(msg="y", id="2"))
    world.settle()
    again = world.join("ana", client="c")
    again.ask(Request(msg="y", id="2"), Request(msg="z", id="3"))
    world.settle()
    assert ana.answers() == [
        ("1", Ack(1, bob.session.epoch, False, 1)),
        ("1", Ack(1, bob.session.epoch, True)),
        ("2", Ack(2, bob.session.epoch, False, 1)),
    ]
    assert [(id_, ack.seq, ack.duplicate) for id_, ack in again.answers()] == [("2", 2, True), ("3", 3, False)]  # type: ignore[union-attr]
    assert [event.message for event in bob.received if event.kind is Kind.MESSAGE] == ["ana: x", "ana: y", "ana: z"]


def test_without_a_clients_own_id_a_session_is_its_own() -> None:
    """Another session may use the same ids."""
    world = world_of()
    bob = world.join()
    for _ in range(2):
        world.join().ask(Request(msg="x", id="1"))
    world.settle()
    assert seqs(bob) == [1, 2]
