"""Chooses the messages for the next record."""

from __future__ import annotations

from typing import NamedTuple

from bcast_grpc.broker.ids import Ids
from bcast_grpc.broker.nats.log.limits import Limits
from bcast_grpc.broker.nats.log.pending import Pending, Waiting
from bcast_grpc.errors import RequestError
from bcast_grpc.events import Stamp


class Batch(NamedTuple):
    """What becomes of the messages that wait.

    Attributes:
        answered: those at the front that need no place, each with its earlier place, or why it cannot have one.
        chosen: those for the record.
    """

    answered: list[tuple[Waiting, Stamp | RequestError]]
    chosen: list[Waiting]


def choose(pending: Pending, ids: Ids, now_ns: int, limits: Limits) -> Batch:
    """Choose from the front as much as fits. Cost: O(what waits), at about 2 µs for each that has an id.

    A message whose id is in the log, or before it in the batch, ends the batch: it is answered when all before it are.
    So answers are given in order.
    """
    answered: list[tuple[Waiting, Stamp | RequestError]] = []
    chosen: list[Waiting] = []
    seen: set[tuple[str, str]] = set()
    size = 0
    for one in pending:
        author, _, _, id_, _ = one.item.entry
        if id_:
            known = ids.find(author.key, id_, now_ns) or (ids.refusal(now_ns) if one.own else None)
            if known is not None and not chosen:
                answered.append((one, known))
                continue
            if known is not None or (author.key, id_) in seen:
                break
            seen.add((author.key, id_))
        size += one.size
        if chosen and (size > limits.record_bytes or len(chosen) >= limits.record_items):
            break
        chosen.append(one)
    return Batch(answered, chosen)


def choose_next(pending: Pending, ids: Ids, now_ns: int, limits: Limits) -> Batch:
    """Choose what comes next, and remove from what waits what needs no place."""
    batch = choose(pending, ids, now_ns, limits)
    if not all(waiting.own for waiting, _ in batch.answered):  # the server that sent them may not know that
        pending.remove_foreign()  # so what follows them must not come first: it appends them all itself
        batch = choose(pending, ids, now_ns, limits)
    for waiting, _ in batch.answered:
        pending.remove(waiting.item.uid)
    return batch
