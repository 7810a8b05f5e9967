"""Gives the messages that are submitted to an order their places."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import TypeAlias

from bcast_grpc.broker.base import Accepted, Outcome, Refused, Repeated
from bcast_grpc.errors import RequestError
from bcast_grpc.events import Entry, Event, Kind, Stamp, wire_sizes

Recall: TypeAlias = Callable[[str, str, int], Stamp | RequestError | None]
"""Called with an author's key, an id and a ``seq``: returns the place of the author's earlier message with this id. If
there is none, it remembers the given place and returns None, or returns the reason why it cannot."""

_MESSAGE = Kind.MESSAGE
_id = itemgetter(Entry._fields.index("id"))  # a third of the time of an attribute
_new = tuple.__new__  # a named tuple's own constructor takes twice as long, and this is made for each message


def place(entries: Sequence[Entry], head: int, time_ns: int, recall: Recall) -> Sequence[Outcome]:
    """Give each new message the next ``seq``. Cost: O(len(entries)).

    Args:
        entries: the submitted messages.
        head: the last ``seq`` that was given.
        time_ns: when they are accepted, in nanoseconds since 1970.
        recall: knows the ids of earlier messages.
    """
    if not any(map(_id, entries)):
        return [_accept(entries, head, time_ns)] if entries else []
    outcomes: list[Outcome] = []
    some: list[Entry] = []
    events: list[Event] = []
    sizes: list[int] = []
    places: list[Stamp] = []
    last: type[Outcome] | None = None
    seq = head
    for entry, size in zip(entries, wire_sizes(entries), strict=True):
        author, message, data, id_, _ = entry
        known = recall(author[2], id_, seq + 1) if id_ else None
        if known is None:
            seq += 1
            if last is not Accepted:
                last, some, events, sizes = Accepted, [], [], []
                outcomes.append(Accepted(some, events, sizes))
            some.append(entry)
            sizes.append(size)
            events.append(_new(Event, (_MESSAGE, message, author, seq, time_ns, data, "", None)))
        elif isinstance(known, Stamp):
            if last is not Repeated:
                last, some, places = Repeated, [], []
                outcomes.append(Repeated(some, places))
            some.append(entry)
            places.append(known)
        else:
            last = Refused
            outcomes.append(Refused([entry], known))
    return outcomes


def _accept(entries: Sequence[Entry], head: int, time_ns: int) -> Accepted:
    """Give places to messages without ids, as most are: none of them can be known."""
    events = [
        _new(Event, (_MESSAGE, message, author, seq, time_ns, data, "", None))
        for seq, (author, message, data, _, _) in enumerate(entries, head + 1)
    ]
    return Accepted(entries, events, wire_sizes(entries))


def accepted(outcomes: Sequence[Outcome]) -> Iterator[Accepted]:
    """Return the outcomes of messages that were accepted."""
    return (outcome for outcome in outcomes if isinstance(outcome, Accepted))
