"""The rooms that are open here, and whom to tell of changes in them."""

from __future__ import annotations

from bcast_grpc.core import notices
from bcast_grpc.core.presence import Watcher
from bcast_grpc.presence.roll import Change, Roll


class Rooms:
    """The rolls of rooms, and who watches them.

    Args:
        me: the name of this run of the server.

    Attributes:
        me: the same.
        rolls: of the rooms that are open, or were not long ago.
        watchers: of those that are open.
    """

    def __init__(self, me: str) -> None:
        self.me = me
        self.rolls: dict[str, Roll] = {}
        self.watchers: dict[str, Watcher] = {}

    def tell(self, room: str, change: Change) -> None:
        """Tell a room of a change that came from another server."""
        watcher = self.watchers.get(room)
        before, after = change
        if watcher is None or before == after:
            return
        author = (after or before).present.author  # type: ignore[union-attr]  # they differ, so one is there
        old_name = before.present.author.name if before else ""
        if notice := notices.changed(author if after else author._replace(name=""), old_name):
            watcher.tell(notice)
        if before and before.server == self.me and after and after.server != self.me:
            watcher.replaced(before.present.author.session)

    def has_reached(self, room: str, epoch: str, seq: int) -> bool:
        """Whether a room's order has come to a place, as far as anybody waits for that."""
        watcher = self.watchers.get(room)
        if watcher is None or not epoch:
            return True
        return watcher.order.epoch == epoch and watcher.order.head >= seq
