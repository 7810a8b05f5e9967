"""How many bytes are queued for clients, counting the frames that many queues share only once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bcast_grpc.core.batch import Frame
from bcast_grpc.core.outbox import Outbox
from bcast_grpc.core.replay import Replay

_LOOKS = 200_000
"""How many frames are looked at, which takes some 20 ms. In the remaining queues only some frames are."""

_SAMPLES = 8


def distinct_bytes(outboxes: Iterable[Outbox]) -> int:
    """Return how many bytes the queues hold, each frame counted once. Cost: bounded, however much is queued.

    All clients of a room get the same frames in the same order, so most queues are the tail of a longer one. The
    longest are counted first. Once ``_LOOKS`` frames have been looked at, a queue that seems to be the tail of another
    adds nothing, and any other is counted in full.
    """
    seen: dict[int, tuple[int, int]] = {}
    total = looks = 0
    for number, outbox in enumerate(sorted(outboxes, key=lambda outbox: outbox.queued_bytes, reverse=True)):
        frames = outbox.frames
        if outbox.writing and id(outbox.writing) not in seen:
            seen[id(outbox.writing)] = number, -1
            total += len(outbox.writing)
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


def distinct_replay_bytes(replays: Iterable[Replay]) -> int:
    """Return how many bytes of histories wait to be written: clients at the same piece have its end in common."""
    sizes: dict[int, int] = {}
    for replay in replays:
        if replay.frames:
            last = id(replay.frames[-1].data)
            sizes[last] = max(sizes.get(last, 0), replay.frames_bytes)
    return sum(sizes.values())


def _is_end_of_another(frames: Sequence[Frame], seen: Mapping[int, tuple[int, int]]) -> bool:
    """Whether a sample of frames, evenly spaced, is in another queue at the same distances."""
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
