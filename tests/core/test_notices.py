"""What the server itself says, as a person reads it."""

from __future__ import annotations

import pytest

from bcast_grpc.core import notices
from bcast_grpc.errors import CallError, ErrorCode, RequestError
from bcast_grpc.events import NOBODY, Ack, Author, Closing, Error, Event, Kind, Member, Members, ResumePoint, Welcome

ANA = Author("session-a", "ana", "key-a")


def present(*names: str) -> list[Member]:
    """Clients with these names."""
    return [Member(f"session {number}", name, number) for number, name in enumerate(names)]


@pytest.mark.parametrize(
    ("event", "kind", "text", "author", "seq", "detail"),
    [
        (notices.joined(ANA), Kind.JOINED, "ana joined", ANA, 0, None),
        (
            notices.renamed(ANA._replace(name="eva"), "ana"),
            Kind.JOINED,
            "ana is now eva",
            ANA._replace(name="eva"),
            0,
            None,
        ),
        (notices.left(ANA), Kind.LEFT, "ana left", ANA, 0, None),
        (
            notices.welcome(ANA, "dev", ResumePoint("e1", 7), 3),
            Kind.WELCOME,
            "welcome to dev: 3 here",
            ANA,
            7,
            Welcome("session-a", "dev", "e1", False, 3),
        ),
        (notices.progress(ResumePoint("e1", 7)), Kind.PROGRESS, "at 7", NOBODY, 7, None),
        (notices.closing("going down", 1.5), Kind.CLOSING, "going down", NOBODY, 0, Closing("going down", 1.5)),
        (notices.sent(Ack(7, "e1", False, 3), "id", 1), Kind.ACK, "sent to 3", NOBODY, 0, Ack(7, "e1", False, 3)),
        (
            notices.sent(Ack(7, "e1", False, 3, 2), "id", 1),
            Kind.ACK,
            "sent to 3, refused by 2",
            NOBODY,
            0,
            Ack(7, "e1", False, 3, 2),
        ),
        (notices.done("your name is eva", "e1", "id"), Kind.ACK, "your name is eva", NOBODY, 0, Ack(epoch="e1")),
    ],
)
def test_each_event_has_a_text_and_its_fields(
    event: Event, kind: Kind, text: str, author: Author, seq: int, detail: object
) -> None:
    """Every event says what happened to a person, whose doing it is, and the rest to a program."""
    assert (event.kind, event.message, event.author, event.seq, event.detail) == (kind, text, author, seq, detail)
    assert event.time_ns > 0


def test_answers_carry_the_requests_id() -> None:
    """ACK, MEMBERS and ERROR say which request they answer; nothing else has an id."""
    fault = RequestError(ErrorCode.EMPTY_MESSAGE, "nothing in it")
    answers = [
        notices.sent(Ack(), "id", 1),
        notices.done("done", "e1", "id"),
        notices.members(present("ana"), "id"),
        notices.error(fault, "id"),
    ]
    assert {event.id for event in answers} == {"id"}
    assert notices.sent(Ack(), "id", 1234).time_ns == 1234
    assert notices.closing("going down", 1).id == notices.left(ANA).id == ""


def test_an_error_says_whether_and_when_to_try_again() -> None:
    """The code, the reason and the wait are those of the fault."""
    event = notices.error(CallError(ErrorCode.RATE_LIMITED, "too fast", retry_after_s=0.5), "id")
    assert (event.kind, event.message) == (Kind.ERROR, "too fast")
    assert event.detail == Error(ErrorCode.RATE_LIMITED, "too fast", True, 0.5)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], "0 here: none without a name"),
        (["ana"], "1 here: ana"),
        ([""], "1 here: one without a name"),
        (["", ""], "2 here: 2 without a name"),
        (["ana", "bob"], "2 here: ana and bob"),
        (["ana", ""], "2 here: ana and one without a name"),
        (["ana", "", "bob"], "3 here: ana, bob and one without a name"),
        (["ana", "", "bob", ""], "4 here: ana, bob and 2 without a name"),
        (["x"] * 20, "20 here: " + "x, " * 18 + "x and x"),
        (["x"] * 21, "21 here: " + "x, " * 19 + "x and 1 more"),
        ([*["x"] * 25, ""], "26 here: " + "x, " * 20 + "5 more and one without a name"),
    ],
)
def test_who_is_here_reads_like_a_sentence(names: list[str], text: str) -> None:
    """Names first, at most twenty, then how many more, then how many have none; the detail lists everyone."""
    event = notices.members(present(*names), "id")
    assert (event.kind, event.message) == (Kind.MEMBERS, text)
    assert event.detail == Members(tuple(present(*names)))
