"""What a flush offers: encoded once for each wire format, the same bytes for everyone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcast_grpc.core.batch import EVERYTHING, Batch, Encoder, Frame, Piece, Run, View
from bcast_grpc.events import Ack, Author, Entry, Event, Kind

from .world import PlainWire, placed

ANA = Author("session-a", "ana", "session-a")
BOB = Author("session-b", "", "session-b")


def run_of(author: Author, *ids: str, first_seq: int = 1) -> Run:
    """A run of messages, the first of which has the place ``first_seq``."""
    run = Run(Kind.MESSAGE, author)
    for seq, id_ in enumerate(ids, first_seq):
        entry = Entry(author, f"message {seq}", b"data", id_)
        (event,) = placed([entry], seq, 1000 + seq)
        run.add(event, 100, entry)
    return run


def not_encoding(_: Sequence[Event]) -> Sequence[Piece]:
    """An encoder that must not be needed."""
    raise AssertionError("encoded again")


# --- codecs


@given(
    st.lists(st.builds(Frame, st.binary(min_size=1, max_size=9), st.integers(1, 5)), max_size=20),
    st.integers(1, 12),
)
@settings(deadline=None)
def test_join_keeps_order_and_count_and_size(frames: list[Frame], frame_bytes: int) -> None:
    """Joined frames hold the same bytes and as many events, and none is larger than allowed, a single one apart."""
    joined = Encoder(not_encoding, frame_bytes).join(frames)
    assert b"".join(data for data, *_ in joined) == b"".join(data for data, *_ in frames)
    assert sum(count for _, count, *_ in joined) == sum(count for _, count, *_ in frames)
    assert all(len(data) <= frame_bytes or data in [piece for piece, *_ in frames] for data, *_ in joined)


@given(
    st.lists(st.builds(Frame, st.binary(min_size=1, max_size=9), st.integers(1, 5)), max_size=20),
    st.integers(1, 12),
)
@settings(deadline=None)
def test_join_makes_as_few_frames_as_it_can(frames: list[Frame], frame_bytes: int) -> None:
    """No two neighbours that would fit into one frame are left apart."""
    joined = Encoder(not_encoding, frame_bytes).join(frames)
    sizes = [len(data) for data, *_ in joined]
    first_pieces = iter([len(data) for data, *_ in frames])
    starts = []
    for size in sizes:  # the first piece of each joined frame
        starts.append(first := next(first_pieces))
        while first < size:
            first += next(first_pieces)
    assert all(size + after > frame_bytes for size, after in zip(sizes, starts[1:], strict=False))


def test_a_format_without_frames_joins_nothing() -> None:
    """With a frame size of 0 every frame stays what it was."""
    frames = [Frame(b"a", 1), Frame(b"b", 1)]
    assert Encoder(not_encoding, 0).join(frames) == frames


def test_a_joined_frame_keeps_what_its_parts_say_of_the_order() -> None:
    """It ends with the last message in it, and has its place if one of them has."""
    answer, progress, message = Frame(b"a", 1), Frame(b"p", 1, None, True), Frame(b"m", 1, 7, True)
    assert Frame.joined([answer, answer]) == Frame(b"aa", 2, None, False)
    assert Frame.joined([answer, progress, answer]) == Frame(b"apa", 3, None, True)
    assert Frame.joined([message, answer]) == Frame(b"ma", 2, 7, True)
    assert Frame.joined([progress, message]) == Frame(b"pm", 2, 7, True)


def test_frames_of_answers_are_joined() -> None:
    """What one client is answered goes out in as few frames as its format allows."""
    answers = [Event(Kind.ACK, "sent"), Event(Kind.ACK, "sent")]
    assert [count for _, count, *_ in PlainWire(1000).encoder.frames(answers)] == [2]
    assert [count for _, count, *_ in PlainWire().encoder.frames(answers)] == [1, 1]


# --- runs


def test_a_run_holds_the_messages_as_they_were_accepted() -> None:
    """Each message keeps its author, text, payload, place and time; its id is for the author alone."""
    run = run_of(ANA, "id", first_seq=7)
    assert run.events == [Event(Kind.MESSAGE, "message 7", ANA, 7, 1007, b"data", "", None)]
    assert (run.kind, run.author, run.asked, run.bytes) == (Kind.MESSAGE, ANA, [(0, "id")], 100)


def test_a_notice_is_a_run_of_its_own() -> None:
    """A notice has the audience of its author and kind, and wants no ack."""
    notice = Event(Kind.LEFT, "ana left", ANA)
    run = Run.of_notice(notice)
    assert (run.kind, run.author, run.events, [*run.answers("epoch", 1, 0)]) == (Kind.LEFT, ANA, [notice], [])


def test_acks_answer_those_who_gave_an_id() -> None:
    """Each message with an id is acknowledged with its place, the epoch, the counts and the time of its acceptance."""
    run = run_of(ANA, "one", "", "three")
    ((session, (one, three)),) = run.answers("epoch", 5, 2)
    assert session == ANA.session
    assert (one.kind, one.id, one.time_ns, one.detail) == (Kind.ACK, "one", 1001, Ack(1, "epoch", False, 5, 2))
    assert (three.kind, three.id, three.time_ns, three.detail) == (
        Kind.ACK,
        "three",
        1003,
        Ack(3, "epoch", False, 5, 2),
    )


# --- batches


def test_a_batch_is_its_runs_in_order() -> None:
    """Whoever sees everything gets all the runs as one frame."""
    wire = PlainWire(1000)
    ((data, count, last_seq, in_order),) = Batch([run_of(ANA, "", ""), run_of(BOB, "", first_seq=3)]).frames(
        wire.encoder
    )
    assert [event.seq for event in wire.decode(data)] == [1, 2, 3]
    assert (count, last_seq, in_order) == (3, 3, True)


def test_a_batch_is_encoded_once_for_each_format() -> None:
    """However many views of it are needed, one format makes the bytes of an event once."""
    wire, other = PlainWire(1000), PlainWire(1000)
    batch = Batch([run_of(ANA, "", ""), run_of(BOB, "", first_seq=3)])
    for view in (EVERYTHING, View(own_key=ANA.key), View(own_key=BOB.key), View(skip=1), EVERYTHING):
        batch.frames(wire.encoder, view)
    assert [event.seq for event in wire.encoded] == [1, 2, 3]
    batch.frames(other.encoder)
    assert [event.seq for event in other.encoded] == [1, 2, 3]


@pytest.mark.parametrize(
    ("view", "seen"),
    [
        (EVERYTHING, ["message 1", "ana left", "message 2"]),
        (View(own_key=ANA.key), ["message 2"]),
        (View(own_key=ANA.key, own_messages=True), ["message 1", "message 2"]),
        (View(own_key=BOB.key), ["message 1", "ana left"]),
        (View(skip=1), ["ana left", "message 2"]),
        (View(skip=1, own_key=BOB.key), ["ana left"]),
        (View(skip=3), []),
        (View(kinds=frozenset({Kind.MESSAGE})), ["message 1", "message 2"]),
        (View(kinds=frozenset({Kind.MESSAGE, Kind.LEFT}), own_key=ANA.key, own_messages=True, skip=1), ["message 2"]),
    ],
)
def test_a_view_shows_what_its_members_are_due(view: View, seen: list[str]) -> None:
    """From its arrival on, not what is one's own unless it is asked for, and only the kinds that are wanted."""
    wire = PlainWire(1000)
    batch = Batch([run_of(ANA, ""), Run.of_notice(Event(Kind.LEFT, "ana left", ANA)), run_of(BOB, "", first_seq=2)])
    frames = batch.frames(wire.encoder, view)
    assert [event.message for data, *_ in frames for event in wire.decode(data)] == seen
    assert [run.events[0].message for place, run in enumerate(batch.runs) if view.shows(place, run)] == seen


def test_a_batch_for_a_format_without_frames_is_single_events() -> None:
    """A client that did not ask for batches gets each event as a frame of its own."""
    assert [count for _, count, *_ in Batch([run_of(ANA, "", ""), run_of(BOB, "")]).frames(PlainWire().encoder)] == [
        1,
        1,
        1,
    ]
