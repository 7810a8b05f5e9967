"""What a client says of itself: every key, and what is said about those that do not fit."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bcast_grpc.core.hello import Hello, read_hello
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.names import check_name
from bcast_grpc.errors import CallError, ErrorCode, RequestError
from bcast_grpc.events import Kind, ResumePoint

LIMITS = Limits()
KEYS = ["name", "room", "client", "events", "batch", "echo"]
NOTICES = {
    "welcome": Kind.WELCOME,
    "joined": Kind.JOINED,
    "left": Kind.LEFT,
    "progress": Kind.PROGRESS,
    "expiring": Kind.EXPIRING,
}
KNOWN = "welcome, joined, left, progress, expiring"
CONTROLS = ["\x00", "\n", "\t", "\x1b", "\x7f", "\x85", "\x9f", "\u2028", "\u2029", "\ud800"]


def hello(**given: str) -> Hello:
    """What is read from these keys."""
    return read_hello(given.items(), LIMITS)


def refusal(*pairs: tuple[str, str]) -> tuple[ErrorCode, str]:
    """The code and the text with which they are refused."""
    with pytest.raises(CallError) as caught:
        read_hello(pairs, LIMITS, "bcast-")
    return caught.value.code, caught.value.reason


# --- every key


def test_all_keys_are_optional() -> None:
    """Who says nothing is in the lobby, without a name, and is told of departures."""
    assert hello() == Hello()
    assert Hello() == Hello("", "lobby", "", frozenset({Kind.MESSAGE, Kind.LEFT}), False, False)


def test_each_key_has_its_effect() -> None:
    """Name, room, client, events, batch and echo are taken as they are said."""
    said = hello(name="José", room="sala 1", client="c-1", events="welcome", batch="1", echo="1")
    assert said == Hello("José", "sala 1", "c-1", frozenset({Kind.MESSAGE, Kind.WELCOME}), True, True)


def test_an_empty_name_is_none() -> None:
    """A program that has no name to give may say so."""
    assert hello(name="").name == ""


@pytest.mark.parametrize("word", NOTICES)
def test_each_notice_can_be_asked_for(word: str) -> None:
    """One word, one kind, beside messages."""
    assert hello(events=word).kinds == {Kind.MESSAGE, NOTICES[word]}


@given(st.lists(st.sampled_from(sorted(NOTICES)), min_size=1))
@settings(deadline=None)
def test_events_are_a_list(words: list[str]) -> None:
    """Any of the words in any order, spaces around them or not, more than once or not."""
    expected = {Kind.MESSAGE, *(NOTICES[word] for word in words)}
    assert hello(events=",".join(words)).kinds == expected
    assert hello(events=" , ".join(words)).kinds == expected


def test_all_and_none_stand_alone() -> None:
    """``all`` is every notice, ``none`` is messages only."""
    assert hello(events="all").kinds == {Kind.MESSAGE, *NOTICES.values()}
    assert hello(events="none").kinds == {Kind.MESSAGE}


@pytest.mark.parametrize("key", ["batch", "echo"])
def test_flags_take_1_and_0(key: str) -> None:
    """1 is on, 0 is off."""
    assert getattr(hello(**{key: "1"}), key) is True
    assert getattr(hello(**{key: "0"}), key) is False


@pytest.mark.parametrize("label", ["a", "x" * 64, "José García", "日本語", "👩‍👩‍👧", "a b", "%", "..", "ana:"])
def test_names_are_any_printable_text(label: str) -> None:
    """A name has 1 to 64 characters of any script; a room may be called the same."""
    said = hello(name=label, room=label)
    assert said.name == said.room == check_name(label, LIMITS) == label


def test_rooms_may_be_longer_than_names() -> None:
    """A room's name has up to 128 characters."""
    assert hello(room="ñ" * 128).room == "ñ" * 128


def test_the_clients_id_is_measured_in_bytes() -> None:
    """``client`` takes up to 128 bytes of UTF-8."""
    assert hello(client="ñ" * 64).client == "ñ" * 64


# --- every refusal names the key and what it takes


@pytest.mark.parametrize("bad", ["", " ", "\u3000"])
def test_a_blank_name_is_no_name(bad: str) -> None:
    """A ``join`` takes no name that nobody can see."""
    with pytest.raises(RequestError, match="a name is 1 to 64 characters") as caught:
        check_name(bad, LIMITS)
    assert caught.value.code is ErrorCode.NAME_INVALID


@pytest.mark.parametrize("control", CONTROLS)
def test_control_characters_are_refused(control: str) -> None:
    """Neither a name nor a room holds characters that do something to a screen or a log, and the text shows none."""
    code, reason = refusal(("name", f"ana{control}"))
    assert code is ErrorCode.NAME_INVALID
    named = f"bcast-name: contains the control character U+{ord(control):04X}"
    assert reason == f"{named}; a name is 1 to 64 characters without control characters"
    code, reason = refusal(("room", f"{control}dev"))
    assert code is ErrorCode.METADATA_INVALID
    named = f"bcast-room: contains the control character U+{ord(control):04X}"
    assert reason == f"{named}; a name is 1 to 128 characters without control characters"


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("name", "x" * 65, "is 65 characters long; a name is 1 to 64 characters"),
        ("name", "  ", "is blank ('  '); a name is 1 to 64 characters"),
        ("room", "x" * 129, "is 129 characters long; a name is 1 to 128 characters"),
        ("room", "", "is blank (''); a name is 1 to 128 characters"),
        ("room", " ", "is blank (' '); a name is 1 to 128 characters"),
        ("client", "ñ" * 65, "is 130 bytes long; the limit is 128"),
        ("events", "", f"'' is not one of {KNOWN}; all and none must stand alone"),
        (
            "events",
            "gap",
            "'gap' is not one of welcome, joined, left, progress, expiring; all and none must stand alone",
        ),
        (
            "events",
            "left,",
            "'' is not one of welcome, joined, left, progress, expiring; all and none must stand alone",
        ),
        (
            "events",
            "all,left",
            "'all' is not one of welcome, joined, left, progress, expiring; all and none must stand alone",
        ),
        (
            "events",
            "left,none",
            "'none' is not one of welcome, joined, left, progress, expiring; all and none must stand alone",
        ),
        (
            "events",
            "Left",
            "'Left' is not one of welcome, joined, left, progress, expiring; all and none must stand alone",
        ),
        ("batch", "true", "must be 1 or 0, not 'true'"),
        ("batch", "", "must be 1 or 0, not ''"),
        ("echo", "2", "must be 1 or 0, not '2'"),
        (
            "nmae",
            "ana",
            (
                "is not a known key; the keys are bcast-name, bcast-room, bcast-client, bcast-events, bcast-batch,"
                " bcast-echo, bcast-after, bcast-history"
            ),
        ),
        ("after", "12", "must be EPOCH:SEQ, as in '3f2a9c1d:42', not '12'"),
        ("after", ":12", "must be EPOCH:SEQ, as in '3f2a9c1d:42', not ':12'"),
        ("after", "epoch:-1", "must be EPOCH:SEQ, as in '3f2a9c1d:42', not 'epoch:-1'"),
        ("after", "epoch:\u0663", "must be EPOCH:SEQ, as in '3f2a9c1d:42', not 'epoch:\u0663'"),
        ("history", "all", "must be a number of messages, not 'all'"),
        ("history", "-1", "must be a number of messages, not '-1'"),
    ],
)
def test_a_refusal_names_the_key_and_what_it_takes(key: str, value: str, says: str) -> None:
    """Whoever reads the status knows what to change."""
    code, reason = refusal((key, value))
    assert reason == f"bcast-{key}: {says}"
    about_a_name = key == "name" or (key == "room" and value == " ")
    assert code is (ErrorCode.NAME_INVALID if about_a_name else ErrorCode.METADATA_INVALID)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_given_once(key: str) -> None:
    """Of two values, neither is silently dropped."""
    value = {"events": "left", "batch": "1", "echo": "1"}.get(key, "x")
    code, reason = refusal((key, value), (key, value))
    assert (code, reason) == (ErrorCode.METADATA_INVALID, f"bcast-{key}: is given twice; it must be given once")


@pytest.mark.parametrize("key", [*KEYS, "y" * 5000])
@pytest.mark.parametrize("value", ["x" * 5000, " " * 5000, "\n" * 5000])
def test_a_refusal_repeats_little_of_what_was_said(key: str, value: str) -> None:
    """However long a key or a value is, the status fits into a header and a log line."""
    _, reason = refusal((key, value))
    assert len(reason) < 250
    assert reason.isprintable()


def test_keys_are_named_as_they_are_at_the_door() -> None:
    """A door whose keys have no prefix names them without one."""
    with pytest.raises(CallError, match=r"^batch: must be 1 or 0, not 'x'"):
        read_hello([("batch", "x")], LIMITS)


def test_limits_are_settings() -> None:
    """How long names and ids may be is not written into the code."""
    limits = Limits(max_name=6, max_room=6, max_id_bytes=6)
    for key in ("name", "room", "client"):
        assert getattr(read_hello([(key, "x" * 6)], limits), key) == "x" * 6
        with pytest.raises(CallError, match=r"\b7 (characters|bytes) long; .*\b6"):
            read_hello([(key, "x" * 7)], limits)


ANY_TEXT = st.text(max_size=70) | st.text(st.characters(categories=["Cs", "Cc", "Lu"]), max_size=5)


@given(st.sampled_from([*KEYS, "nmae"]), ANY_TEXT)
@example("client", "\ud800")
@settings(deadline=None)
def test_whatever_is_said_is_taken_or_refused_by_name(key: str, value: str) -> None:
    """No text, not even one that is no Unicode, makes anything but a ``Hello`` or a refusal that names its key."""
    reason = f"bcast-{key}: "
    try:
        read_hello([(key, value)], LIMITS, "bcast-")
    except CallError as error:
        reason = error.reason
    assert reason.startswith(f"bcast-{key}: ")
    assert reason.isprintable()


def test_where_to_go_on() -> None:
    """A place in an order, and a number of earlier messages."""
    assert hello(after="3f2a9c1d:42").after == ResumePoint("3f2a9c1d", 42)
    assert hello(after="a:b:0", history="7") == Hello(after=ResumePoint("a:b", 0), history=7)
