"""An ack leaves with the flush of its message, and says what became of it."""

from __future__ import annotations

from bcast_grpc.core.limits import Limits
from bcast_grpc.events import Request

from .received import acks
from .world import World


def test_an_ack_counts_what_became_of_its_message() -> None:
    """How many others have it in their queue, and how many queues were full; who is gone is neither."""
    world = World(Limits(queue_messages=4))
    ana = world.join("ana", echo=True)
    fine, slow, leaving, gone = (world.join() for _ in range(4))
    world.join(reader=True)
    ana.say("1", "2", "3", "4")
    while slow.session.outbox.queued_messages < 4:  # a flush takes one message here
        assert world.scheduler.step()
        for client in (ana, fine, leaving, world.clients[-1]):
            client.write_all()
    assert slow.session.outbox.queued_messages == 4
    leaving.session.leave()
    world.scheduler.advance(1)
    assert leaving.session.outbox.closed
    gone.close()
    slow.awake = leaving.awake = False  # both are still in the room
    ana.new()
    ana.ask(Request(msg="5", id="x"))
    world.settle()
    assert acks(ana) == [("x", 5, 2, 1)]


def test_an_ack_leaves_with_the_flush_of_its_message(world: World) -> None:
    """Before that flush the queues have nothing, and the author has heard nothing."""
    ana, bob = world.join(), world.join()
    ana.ask(Request(msg="1", id="x"))
    ana.write_all()
    assert ana.new() == []
    assert bob.session.outbox.queued_messages == 0
    world.scheduler.run_soon()
    assert bob.session.outbox.queued_messages == 1
    ana.write_all()
    assert acks(ana) == [("x", 1, 1, 0)]


def test_acks_of_a_flush_go_out_together(world: World) -> None:
    """However many messages of one author a flush holds, their acks are one offer and one frame."""
    ana = world.join()
    world.join()
    ana.ask(*(Request(msg="x", id=str(number)) for number in range(100)))
    world.settle()
    assert len(ana.frames) == 1
    assert [id_ for id_, *_ in acks(ana)] == [str(number) for number in range(100)]


def test_who_came_after_a_message_is_not_counted(world: World) -> None:
    """An ack counts those who were in when the message was accepted."""
    ana = world.join()
    ana.ask(Request(msg="1", id="x"))
    world.join()
    ana.ask(Request(msg="2", id="y"))
    world.settle()
    assert acks(ana) == [("x", 1, 0, 0), ("y", 2, 1, 0)]
