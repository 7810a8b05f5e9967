"""One checker for each promise of the contract: it reads a room's record and yields each violation in words."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import TypeAlias

from .order import MOST, Order, Stretch, excused, stretches
from .records import (
    Acked,
    Came,
    Client,
    Place,
    Present,
    Refused,
    Room,
    Saw,
    Sent,
    Told,
    Visit,
    Welcomed,
    Went,
    author_of,
    number_of,
)

Checker: TypeAlias = Callable[[Room], Iterator[str]]

_ENDINGS = ("OK", "SHUTTING_DOWN", "SLOW_CONSUMER", "REPLACED", "BROKER_UNAVAILABLE", "TOKEN_EXPIRED")
_AT_ARRIVAL = ("TRIMMED", "NEW_EPOCH")


def reaches_all_others(room: Room) -> Iterator[str]:
    """Check promise 1: a client gets every message accepted while it was connected, or between two resumed streams."""
    order = Order(room)
    unknown: dict[Place, list[str]] = defaultdict(list)
    for client in room.clients:
        for way in stretches(client, room.kept):
            for seq, text in excused(order, client, way):
                yield f"{client.key} never got {text or 'the message'} in {way.epoch}:{seq}, and no GAP covers it"
            for seq in way.missed(order.heads[way.epoch]):
                if Place(way.epoch, seq) not in order.texts:
                    unknown[Place(way.epoch, seq)].append(client.key)
    for (epoch, seq), keys in unknown.items():
        if len(keys) > 1:
            yield f"nobody got the message in {epoch}:{seq}, and {', '.join(keys)} got no GAP"


def has_one_order(room: Room) -> Iterator[str]:
    """Check promise 2: all clients get the same messages in the same places, each author's in the order sent."""
    order = Order(room)
    yield from order.conflicts
    for client in room.clients:
        ways = stretches(client, room.kept)
        for way in ways:
            for (before, _), (seq, text) in pairwise(way.seen):
                if seq <= before:
                    yield f"{client.key} saw {text} in {way.epoch}:{seq} after {before}"
        if len({way.epoch for way in ways}) < len(ways):
            yield f"{client.key} resumed in an epoch that had ended"
    if len(last := {ways[-1].epoch for client in room.clients if client.stayed and (ways := _ways(room, client))}) > 1:
        yield f"at the end there is more than one order: {', '.join(sorted(last))}"
    yield from _keeps_each_authors_order(room, order)


def _keeps_each_authors_order(room: Room, order: Order) -> Iterator[str]:
    """Check that messages came in the order of their author, but for those that were refused on the way."""
    refused = {step.text for client in room.clients for step in client.steps if isinstance(step, Refused)}
    if room.refusing:
        refused |= {text for client in room.clients for visit in client.visits[:-1] for text in _unanswered(visit)}
    if room.refusing and room.restored:  # the first try may wait at a server until nobody knows of the second any more
        tries = Counter(step.text for client in room.clients for step in client.steps if isinstance(step, Sent))
        refused |= {text for text, count in tries.items() if count > 1}
    last: dict[tuple[str, str], str] = {}
    for (epoch, seq), text in sorted(order.texts.items()):
        if text in refused:
            continue
        before = last.get((epoch, author_of(text)))
        if before and number_of(before) > number_of(text):
            yield f"{text} is in {epoch}:{seq}, after {before}"
        last[epoch, author_of(text)] = text


def _unanswered(visit: Visit) -> set[str]:
    """Return what was sent in a visit that ended before the answer: that may have been a refusal."""
    sent = {step.text for step in visit.steps if isinstance(step, Sent)}
    return sent - {step.text for step in visit.steps if isinstance(step, Acked | Refused)}


def keeps_what_it_acknowledged(room: Room) -> Iterator[str]:
    """Check promises 3 and 4: an acknowledged message is in its place; with a store, after all restarts too."""
    order = Order(room)
    last = {ways[-1].epoch for client in room.clients if client.stayed and (ways := _ways(room, client))}
    sent = Counter(step.text for client in room.clients for step in client.steps if isinstance(step, Sent))
    for client in room.clients:
        for step in client.steps:
            match step:
                case Acked(text, place, duplicate):
                    if order.texts.get(place) != text or order.places.get((place.epoch, text)) != place.seq:
                        yield f"{client.key} got an ack for {text} in {place.epoch}:{place.seq}, but it is not there"
                    if room.durable and last and place.epoch not in last:
                        yield f"{client.key}'s {text} was acknowledged in the epoch {place.epoch}, which is lost"
                    if duplicate and sent[text] < 2:
                        yield f"{client.key} sent {text} once, but the ack says it is a duplicate"
                    if author_of(text) != client.key:
                        yield f"{client.key} got an ack for {text}, which it never sent"
                case Saw(_, text):
                    if not sent[text]:
                        yield f"{client.key} saw {text}, which nobody sent"
        if client.stayed:
            yield from _answers_all(room, client)


def _answers_all(room: Room, client: Client) -> Iterator[str]:
    acked = {step.text for step in client.steps if isinstance(step, Acked)}
    for text in {step.text for step in client.steps if isinstance(step, Sent)} - acked:
        yield f"{client.key} got neither an ack nor an error for {text} in {room.name}"


def sends_nothing_twice(room: Room) -> Iterator[str]:
    """Check promise 3: a retried message is accepted once, and no client gets a message twice, resumes included."""
    places: dict[tuple[str, str], set[int]] = defaultdict(set)
    firsts: Counter[tuple[str, str]] = Counter()
    for client in room.clients:
        seen: Counter[tuple[str, str]] = Counter()
        for way in stretches(client, room.kept):
            for seq, text in way.seen:
                epoch = "" if room.durable else way.epoch
                seen[epoch, text] += 1
                places[epoch, text].add(seq)
        yield from (f"{client.key} got {text} {count} times" for (_, text), count in seen.items() if count > 1)
        for step in client.steps:
            if isinstance(step, Acked):
                epoch = "" if room.durable else step.place.epoch
                places[epoch, step.text].add(step.place.seq)
                firsts[epoch, step.text] += not step.duplicate
    yield from (f"{text} has {len(all_)} places: {all_}" for (_, text), all_ in places.items() if len(all_) > 1)
    yield from (f"{text} was accepted {count} times" for (_, text), count in firsts.items() if count > 1)


def sends_nobody_its_own(room: Room) -> Iterator[str]:
    """Check promise 1: a client gets its own messages only with ``echo``, and never its own JOINED or LEFT."""
    for client in room.clients:
        for step in client.steps:
            match step:
                case Saw(seq, text) if author_of(text) == client.key and not client.echo:
                    yield f"{client.key} got its own {text} in {seq}"
                case Came(name) | Went(name) if name == client.key:
                    yield f"{client.key} got its own JOINED or LEFT"


def tells_gaps(room: Room) -> Iterator[str]:
    """Check promise 3: a client that resumes gets what it missed, or a GAP for what is not kept; each GAP is true."""
    order = Order(room)
    for client in room.clients:
        seen: set[Place] = set()
        unplaced = {way.epoch: order.unplaced(client, way) for way in _ways(room, client)}
        for visit in client.visits:
            if visit.ending == "METADATA_INVALID":
                yield f"{client.key} was refused after {visit.after}, a place that the server had given it"
            if (
                client.door != "tcp"
                and not visit.welcome
                and (told := [step for step in visit.heard if not isinstance(step, Acked | Refused)])
            ):
                yield f"{client.key} got {told[0]} before WELCOME"
            yield from _tells_truly(room, client, visit, seen)
            yield from _resumes(room, client, visit, order, unplaced)


def _tells_truly(room: Room, client: Client, visit: Visit, seen: set[Place]) -> Iterator[str]:
    if not visit.welcome:
        return
    epoch, head = visit.welcome.head
    for index, step in enumerate(visit.heard):
        match step:
            case Saw(seq, _):
                if not 1 <= seq <= MOST:
                    yield f"{client.key} got {step}, which is no place"
                seen.add(Place(epoch, seq))
            case Told(first, last, reason):
                if reason in _AT_ARRIVAL and index != 1:
                    yield f"{client.key} got {step} in the middle of a stream"
                if reason == "NEW_EPOCH":
                    continue
                if not 1 <= first <= last <= MOST:
                    yield f"{client.key} got {step}, which is no range of places"
                if wrong := sorted(place.seq for place in seen if place.epoch == epoch and first <= place.seq <= last):
                    yield f"{client.key} got {step} in {epoch}, though it had got {wrong}"
                if reason == "TRIMMED" and last > head - room.kept:
                    yield f"{client.key} got {step} at {head}, though {room.kept} messages are kept"


def _resumes(room: Room, client: Client, visit: Visit, order: Order, unplaced: Mapping[str, int]) -> Iterator[str]:
    if not visit.welcome or not visit.after:
        return
    (epoch, head), resumed = visit.welcome
    heard = visit.heard[1:]
    first = heard[0] if heard else None
    gap = first if isinstance(first, Told) and first.reason in _AT_ARRIVAL else None
    anew = visit.after.epoch != epoch
    if anew != bool(gap and gap.reason == "NEW_EPOCH") and heard:
        yield f"{client.key} resumed after {visit.after} in {epoch}, and got {gap}"
    if resumed and (anew or gap):
        yield f"{client.key} was told that it resumed after {visit.after}, but it did not"
    begin = max(0, head - room.kept) if anew else visit.after.seq
    for step in heard:
        if isinstance(step, Saw) or (isinstance(step, Told) and step.reason != "NEW_EPOCH"):
            until = step.seq if isinstance(step, Saw) else step.first
            foreign = unknown = 0
            for seq in range(begin + 1, min(until, begin + MOST)):
                text = order.texts.get(Place(epoch, seq))
                foreign += bool(text) and (client.echo or author_of(text or "") != client.key)
                unknown += not text
            if foreign or unknown > unplaced.get(epoch, 0):
                yield f"{client.key} resumed after {epoch}:{begin}, got {step} first, and no GAP before it"
            return


def tells_departures_once(room: Room) -> Iterator[str]:
    """Check promise 6: the others get one LEFT for each named client that left, and none for one that is there."""
    gone = {client.key: client.gone for client in room.clients if client.named}
    for client in room.clients:
        hears_comings = client.door != "tcp"
        for visit in client.visits:
            to_the_end = client.stayed and not client.gone and visit is client.visits[-1]
            for name, steps in _heard_of_others(visit).items():
                comings = [step for step in steps if not isinstance(step, Present)]
                for before, step in pairwise(comings):
                    if hears_comings and type(before) is type(step):
                        yield f"{client.key} got twice in a row: {step}"
                if name not in gone:
                    yield f"{client.key} heard of {name}, who was never there"
                elif to_the_end and gone[name] != isinstance(steps[-1], Went) and (hears_comings or gone[name]):
                    yield f"{client.key} got {steps[-1]} last, but {name} {'left' if gone[name] else 'is there'}"


def _heard_of_others(visit: Visit) -> dict[str, list[Came | Went | Present]]:
    heard: dict[str, list[Came | Went | Present]] = defaultdict(list)
    for step in visit.steps:
        match step:
            case Came(name) | Went(name):
                heard[name].append(step)
            case Present(names):
                for name in names:
                    heard[name].append(step)
    return heard


def _ways(room: Room, client: Client) -> list[Stretch]:
    return stretches(client, room.kept)


PROMISES: Mapping[str, Checker] = {
    "to all others": reaches_all_others,
    "one order": has_one_order,
    "an ack holds": keeps_what_it_acknowledged,
    "nothing twice": sends_nothing_twice,
    "never one's own": sends_nobody_its_own,
    "gaps are reported": tells_gaps,
    "departures are reported once": tells_departures_once,
}


def numbers_only_what_was_sent(room: Room) -> Iterator[str]:
    """Check that no place is beyond the number of all messages: other checkers would go through all places up to it."""
    most = sum(isinstance(step, Sent) for client in room.clients for step in client.steps)
    for client in room.clients:
        for step in client.steps:
            match step:
                case Saw(seq, _) | Told(_, seq, _) | Welcomed(Place(_, seq), _) | Acked(_, Place(_, seq), _) if (
                    seq > most
                ):
                    yield f"{client.key} got {step}, and {most} messages were sent in all"


def violations(room: Room) -> list[str]:
    """Return the violations of all promises, in words."""
    if beyond := list(numbers_only_what_was_sent(room)):
        return [f"one order: {room.name}: {wrong}" for wrong in beyond]
    return [f"{name}: {room.name}: {wrong}" for name, checker in PROMISES.items() for wrong in checker(room)]


def wrong_endings(room: Room) -> Iterator[str]:
    """Check that each stream ended for a reason that there is in a storm."""
    for client in room.clients:
        for visit in client.visits:
            if visit.ending.isupper() and visit.ending not in _ENDINGS:
                yield f"{room.name}: {client.key}'s stream ended with {visit.ending}"
        for before, visit in pairwise(client.visits):
            if visit.ending == "REPLACED" and before.welcome:
                yield f"{room.name}: {client.key} was replaced, and had not tried another place just before"
