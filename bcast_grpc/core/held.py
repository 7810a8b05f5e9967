"""How many bytes are queued for clients, where many queues share the same frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bcast_grpc.core.batch import Frame
from bcast_grpc.core.outbox import Outbox

_LOOKS = 200_000
"""So many frames are looked at, which takes some 20 ms; in the queues that are left only some."""


_SAMPLES = 8


def distinct_bytes(outboxes: Iterable[Outbox]) -> int:
    """Return how many bytes the queues hold, each frame counted once. Cost: bounded, whatever is queued.

    All clients of a room take the same frames in the same order, so most queues are the end of a longer one. The
    longest are counted first. When too many frames have been looked at, a queue that seems to be the end of another
    adds nothing, and one that does not is counted in full.
    """
    seen: dict[int, tuple[int, int]] = {}
    total = looks = 0
    for number, outbox in enumerate(sorted(outboxes, key=lambda outbox: outbox.queued_bytes, reverse=True)):
        frames = outbox.frames
        total += outbox.writing_bytes
        if looks > _LOOKS:
            if frames and not _is_end_of_another(frames, seen):
                total += outbox.queued_bytes
            continue
        looks += len(frames)
        for place, (data, *_) in enumerate(frames):
            if id(data) not in seen:
                seen[id(data)] = number, place
                total += len(data)
    return total


def _is_end_of_another(frames: Sequence[Frame], seen: Mapping[int, tuple[int, int]]) -> bool:
    """Look whether some frames, evenly spaced, stand in another queue at the same distances."""
    length = len(frames)
    places = {length - 1 - place * (length - 1) // _SAMPLES for place in range(_SAMPLES + 1)}
    origins = set()
    for place in places:
        found = seen.get(id(frames[place][0]))
        if found is None:
            return False
        number, there = found
        origins.add((number, there - place))
    return len(origins) == 1
