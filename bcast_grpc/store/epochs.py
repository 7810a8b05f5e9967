"""Begin new epochs in a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from bcast_grpc.broker.base import CannotOpen
from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.sqlite.faults import InUse
from bcast_grpc.broker.sqlite.file import StoreFile
from bcast_grpc.broker.sqlite.lineage import NEW_EPOCHS
from bcast_grpc.store.reading import reading


def begin_epochs(path: Path, rooms: Sequence[str] = ()) -> Mapping[str, str]:
    """Give rooms new epochs, and keep their messages; return the epochs by room.

    Args:
        path: of a store that no server uses.
        rooms: their names; empty for all.

    Raises:
        CannotOpen: there is no such store or room, or a server uses it.
    """
    with reading(path) as connection:
        known = {name for (name,) in connection.execute("SELECT name FROM room")}
    if unknown := sorted(set(rooms) - known):
        raise CannotOpen(f"the store {path} has no room {unknown[0]!r}; bcast-store info lists its rooms")
    try:
        file = StoreFile(path, Clock())
    except InUse:
        raise CannotOpen(f"the store {path} is used by a server; stop it first") from None
    with closing(file):
        with file.transaction() as connection:
            if rooms:
                connection.executemany(f"{NEW_EPOCHS} WHERE name = ?", [(room,) for room in rooms])
            else:
                connection.execute(NEW_EPOCHS)
        epochs = dict(file.writer.execute("SELECT name, epoch FROM room ORDER BY name"))
    return {room: epoch for room, epoch in epochs.items() if not rooms or room in rooms}
