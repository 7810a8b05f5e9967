"""What a client and a producer of the model are owed, once everything has happened that can."""

from __future__ import annotations

from collections.abc import Sequence

from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import Ack, Error, Event, Kind, Members

from .model import COMINGS, Player, Producer, Room, listed, name_after


def check_is_owed_nothing(players: Sequence[Player], player: Player) -> None:
    """When everything has happened, a client that was not dropped has what it was due, and an answer to each id."""
    received = player.received
    outbox = player.client.session.outbox
    assert player.client.closed or (outbox.queued_messages, outbox.queued_bytes) == (0, 0)
    if not player.dropped:
        least = player.due(player.left_at)
        assert received[: len(least)] == least
        assert player.left_at is not None or received == least
    events = player.client.received
    welcomes = [event for event in events if event.kind is Kind.WELCOME]
    if Kind.WELCOME in player.hello.kinds and events:
        assert welcomes == events[:1]
        assert welcomes[0].detail == player.welcome
        assert welcomes[0].seq == sum(item.kind is Kind.MESSAGE for item in player.room.log[: player.start])
    else:
        assert not welcomes
    _check_answers(players, player)
    if player.present and player.left_at is None and not player.dropped and player.hello.kinds >= COMINGS:
        _check_lists(players, player)


def _check_answers(players: Sequence[Player], player: Player) -> None:
    """Each id is answered once, by the right event, in order; acks say the place and what became of the message."""
    answers = [event for event in player.client.received if event.id]
    acks = [event for event in answers if event.id in player.acks]
    others = [event for event in answers if event.id not in player.acks]
    expected_acks, expected_others = list(player.acks), list(player.answers.items())
    if player.dropped:
        expected_acks, expected_others = expected_acks[: len(acks)], expected_others[: len(others)]
    assert [event.id for event in answers] == sorted([event.id for event in answers], key=_number)
    assert [event.id for event in acks] == expected_acks
    assert [(event.id, event.kind) for event in others] == expected_others
    for event in acks:
        _check_ack(players, event, player.room, player.acks[event.id], player.key)
    for event in others:
        if event.kind is Kind.ERROR:
            assert isinstance(event.detail, Error)
            assert event.detail.code in (ErrorCode.EMPTY_MESSAGE, ErrorCode.NAME_INVALID)
        elif event.kind is Kind.ACK:
            assert event.detail == Ack(epoch=player.room.epoch)
        elif isinstance(event.detail, Members):
            assert listed(event.detail) == player.lists[event.id]


def _check_lists(players: Sequence[Player], player: Player) -> None:
    """Each list, with the JOINED and LEFT that came after it, says which others with a name are there now."""
    events = player.client.received
    there = {other.place: other.name for other in player.room.players if other.name and other.key != player.key}
    for number, event in enumerate(events):
        if isinstance(event.detail, Members):
            assert _believed(players, player, event.detail, events[number + 1 :]) == there


def _believed(
    players: Sequence[Player], player: Player, members: Members, after: Sequence[Event]
) -> dict[tuple[str, bool], str]:
    """Return who a player thinks is there, of those with a name: nobody is told of itself."""
    by_session = {other.client.session.id: other for other in players}
    said = [*listed(members), *((e.author.session, name_after(e)) for e in after if e.kind in COMINGS)]
    last = {by_session[session].place: name for session, name in said}
    return {place: name for place, name in last.items() if name and place[0] != player.key}


def check_producer(players: Sequence[Player], producer: Producer) -> None:
    """A producer is answered at most once, by the ack of its message."""
    assert len(producer.answers) <= 1
    for event in producer.answers:
        _check_ack(players, event, producer.room, producer.seq, producer.key)


def _check_ack(players: Sequence[Player], event: Event, room: Room, seq: int, author: str) -> None:
    """An ack counts whose queue took the message and whose refused it, its author's own calls apart."""
    others = [player for player in players if player.room is room and player.key != author]
    queued = sum(player.queued[seq] for player in others)
    refused = sum(player.refused[seq] for player in others)
    assert event.kind is Kind.ACK
    assert event.detail == Ack(seq, room.epoch, False, queued, refused)
    assert all(player.queued[seq] + player.refused[seq] <= 1 for player in others)


def _number(id_: str) -> int:
    """Where among all ids an id was given out."""
    return int(id_.removeprefix("id "))
