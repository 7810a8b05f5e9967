"""What is in a store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bcast_grpc.broker.sqlite.claim import is_in_use
from bcast_grpc.broker.sqlite.schema import VERSION
from bcast_grpc.store.reading import reading
from bcast_grpc.store.text import as_time, counted, table

_ROOMS = """
SELECT room.name, epoch, head, count(seq), coalesce(sum(length(CAST(message AS BLOB)) + length(data)), 0),
    (SELECT count(*) FROM known WHERE known.room = room.id), min(time_ns), max(time_ns)
FROM room LEFT JOIN message ON message.room = room.id GROUP BY room.id ORDER BY room.name
"""


@dataclass(frozen=True, slots=True)
class RoomInfo:
    """One room.

    Attributes:
        head: the place of its last message.
        messages: how many are kept.
        bytes: of their text and data.
        ids: how many are remembered.
        oldest, newest: when the first and the last of them were accepted.
    """

    room: str
    epoch: str
    head: int
    messages: int
    bytes: int
    ids: int
    oldest: str | None
    newest: str | None


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """A store.

    Attributes:
        log_bytes: of the log beside it.
        in_use: whether a server has it.
        commits: how many transactions there were.
    """

    file: str
    version: int
    bytes: int
    log_bytes: int
    in_use: bool
    commits: int
    messages: int
    ids: int
    rooms: Sequence[RoomInfo]


def look_into(path: Path) -> StoreInfo:
    """Read what there is.

    Raises:
        CannotOpen: there is no store, or it cannot be read.
    """
    with reading(path) as connection:
        rooms = [_room(*row) for row in connection.execute(_ROOMS)]
        ((commits,),) = connection.execute("SELECT commits FROM meta")
    log = Path(f"{path.resolve()}-wal")
    return StoreInfo(
        str(path),
        VERSION,
        path.stat().st_size,
        log.stat().st_size if log.exists() else 0,
        is_in_use(path.resolve()),
        commits,
        sum(room.messages for room in rooms),
        sum(room.ids for room in rooms),
        rooms,
    )


def _room(
    name: str, epoch: str, head: int, messages: int, size: int, ids: int, oldest_ns: int | None, newest_ns: int | None
) -> RoomInfo:
    return RoomInfo(name, epoch, head, messages, size, ids, as_time(oldest_ns), as_time(newest_ns))


def as_json(found: StoreInfo) -> str:
    """Return it for a program."""
    return json.dumps(asdict(found), ensure_ascii=False)


def as_text(found: StoreInfo) -> str:
    """Return it for a person."""
    use = "a server uses it" if found.in_use else "no server uses it"
    numbers = {"room": len(found.rooms), "message": found.messages, "id": found.ids}
    counts = ", ".join(counted(number, word) for word, number in numbers.items())
    first = f"{found.file}: {counts}; {found.bytes} bytes, and {found.log_bytes} in the log; {use}"
    heads = ("room", "epoch", "head", "messages", "bytes", "ids", "oldest", "newest")
    return "\n".join([first, *table(heads, (tuple(asdict(room).values()) for room in found.rooms))])
