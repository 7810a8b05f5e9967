"""The values that flow are those of the contract, and cannot be changed on their way."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import (
    NOBODY,
    Ack,
    Author,
    Closing,
    Entry,
    Error,
    Event,
    Gap,
    GapReason,
    Kind,
    Member,
    Members,
    Request,
    ResumePoint,
    Welcome,
    relayed,
    utf8_bytes,
    wire_bytes,
)

ANA = Author("session-a", "ana", "key-a")


def test_kinds_are_numbered_as_the_contract_says() -> None:
    """1 to 11 in its order; 0 says nothing."""
    kinds = [
        "MESSAGE",
        "WELCOME",
        "JOINED",
        "LEFT",
        "ACK",
        "ERROR",
        "GAP",
        "MEMBERS",
        "PROGRESS",
        "CLOSING",
        "EXPIRING",
    ]
    assert [(kind.value, kind.name) for kind in Kind if kind >= 0] == list(enumerate(["UNSPECIFIED", *kinds]))
    reasons = ["UNSPECIFIED", "TRIMMED", "SLOW", "NEW_EPOCH", "NOT_ALLOWED"]
    assert [(reason.value, reason.name) for reason in GapReason] == list(enumerate(reasons))


def test_a_message_reads_name_and_text() -> None:
    """``name: text`` where the author has a name, also of an empty text; else the text verbatim."""
    assert relayed("ana", "hola") == "ana: hola"
    assert relayed("ana", "") == "ana: "
    assert relayed("", "ana: hola") == "ana: hola"


@given(st.text(max_size=10), st.text(max_size=20))
@settings(deadline=None)
def test_the_bare_text_comes_back(name: str, text: str) -> None:
    """Whatever name and text are, a program gets the text that the author sent."""
    event = Event(Kind.MESSAGE, relayed(name, text), Author("s", name, "s"))
    assert event.text == text


def test_the_bare_text_of_other_events_is_their_message() -> None:
    """Nothing is cut from what the server says."""
    assert Event(Kind.JOINED, "ana joined", ANA).text == "ana joined"


def test_an_event_says_whose_doing_it_is() -> None:
    """The author's name and public session; nobody's where the server speaks."""
    event = Event(Kind.MESSAGE, "ana: hola", ANA)
    assert (event.sender, event.session) == ("ana", "session-a")
    assert (Event(Kind.PROGRESS, "at 1").sender, NOBODY) == ("", Author("", "", ""))


def test_defaults_say_nothing() -> None:
    """What is not given is not there."""
    assert Request() == ("", "", b"", "", "")
    assert Entry(ANA, "x") == (ANA, "x", b"", "", False)
    assert Event(Kind.ACK, "x") == (Kind.ACK, "x", NOBODY, 0, 0, b"", "", None)
    assert Ack() == Ack(0, "", False, 0, 0)


@pytest.mark.parametrize(
    "value",
    [
        Welcome("s", "lobby", "e", False, 1),
        Ack(),
        Error(ErrorCode.INTERNAL, "why"),
        Gap(1, 2, GapReason.SLOW),
        Member("s", "ana", 1),
        Members(()),
        Closing("bye", 1),
        ANA,
        ResumePoint("e", 1),
        Request(),
        Entry(ANA, "x"),
        Event(Kind.ACK, "x"),
    ],
)
def test_values_are_values(value: object) -> None:
    """They cannot be changed, and are equal and hash alike when they say the same."""
    names = [field.name for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else value._fields  # type: ignore[attr-defined]
    for name in names:
        with pytest.raises(AttributeError):
            setattr(value, name, None)
    copy = dataclasses.replace(value) if dataclasses.is_dataclass(value) else type(value)(*value)  # type: ignore[type-var,misc]
    assert (copy, hash(copy)) == (value, hash(value))
    assert not hasattr(value, "__dict__")


# --- sizes


@given(st.text())
@settings(deadline=None)
def test_utf8_bytes_is_the_size_of_the_encoded_text(text: str) -> None:
    """Text is counted as it goes out."""
    assert utf8_bytes(text) == len(text.encode())


@given(st.text(max_size=50), st.binary(max_size=50), st.text(max_size=64))
@settings(deadline=None)
def test_a_message_is_counted_with_its_text_payload_and_name(text: str, data: bytes, name: str) -> None:
    """What a message is reckoned at is more than what it carries."""
    size = wire_bytes(Entry(Author("session", name, "session"), text, data))
    assert size > len(text.encode()) + len(data) + len(name.encode())
    assert wire_bytes(Event(Kind.LEFT, text, NOBODY)) > len(text.encode())
