"""Watches what the queues of the model's players take and refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from unittest.mock import patch

from bcast_grpc.core.batch import Frame
from bcast_grpc.core.outbox import Outbox
from bcast_grpc.events import Kind

from .model import Player
from .world import PlainWire


class Watch:
    """Looks on while frames are offered to queues, until ``stop()``.

    Args:
        wires: the wire formats, for clients with batches and without.

    Attributes:
        players: those that are watched, by their queues.
    """

    def __init__(self, wires: Mapping[bool, PlainWire]) -> None:
        self.players: dict[Outbox, Player] = {}
        self._wires = wires
        self._patch = patch.multiple(
            Outbox,
            offer=self._watching(Outbox.offer),
            pass_on=self._watching_one(Outbox.pass_on),
            defer=self._watching_one(Outbox.defer),
            send=self._not_watching(Outbox.send),
        )
        self._patch.start()

    def stop(self) -> None:
        """Look on no longer."""
        self._patch.stop()

    def _watching(self, offer: Callable[..., bool]) -> Callable[..., bool]:
        """Note which messages the players' queues take and refuse."""

        def watched(outbox: Outbox, frames: Sequence[Frame], **options: bool) -> bool:
            taken = offer(outbox, frames, **options)
            self._note(outbox, frames, taken=taken)
            return taken

        return watched

    def _watching_one(self, take: Callable[..., bool]) -> Callable[..., bool]:
        """Note which messages are written without a queue, or deferred."""

        def watched(outbox: Outbox, frame: Frame) -> bool:
            taken = take(outbox, frame)
            if taken:
                self._note(outbox, [frame], taken=True)
            return taken

        return watched

    def _not_watching(self, send: Callable[[Outbox], bool]) -> Callable[[Outbox], bool]:
        """Note nothing of what was noted when it was deferred."""

        def unwatched(outbox: Outbox) -> bool:
            player = self.players.pop(outbox, None)
            sent = send(outbox)
            if player:
                self.players[outbox] = player
            return sent

        return unwatched

    def _note(self, outbox: Outbox, frames: Sequence[Frame], *, taken: bool) -> None:
        """Note what became of the messages in frames that were offered to a player, and who is there in its lists."""
        if player := self.players.get(outbox):
            events = [event for data, *_ in frames for event in self._wires[player.hello.batch].decode(data)]
            (player.queued if taken else player.refused).update(e.seq for e in events if e.kind is Kind.MESSAGE)
            there = tuple((other.client.session.id, other.name) for other in player.room.players)
            player.lists |= {event.id: there for event in events if event.kind is Kind.MEMBERS}
