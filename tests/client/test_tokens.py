"""Tokens of the client library: a constant, a function or a file; renewed on the running call, and for each new one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import bcast_grpc
from bcast_grpc import CallError, Chat, Error, ErrorCode, Event, Gap, GapReason, Kind, Server, TokenFile
from bcast_grpc.client import renewal
from bcast_grpc.client.token import Token, Tokens
from tests import engine, tokens

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("nothing_left")]


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[str]:
    """The address of a server that takes tokens."""
    settings = engine.settings(token_keys=(str(tokens.key_file(tmp_path)),), token_audience=tokens.AUDIENCE)
    async with Server(settings) as server:
        yield server.address


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renewals follow each other as fast as tokens of a second need."""
    monkeypatch.setattr(renewal, "_FIRST_PAUSE_S", 0.05)


class Issuer:
    """Makes tokens that live for a short time, and counts them.

    Args:
        overlap: whether there is a new one before the last has expired.
    """

    def __init__(self, *, expires_s: float = 1.0, overlap: bool = True, **what: Any) -> None:
        self.made = 0
        self._expires_s = expires_s
        self._overlap = overlap
        self._what = what
        self._last = ""
        self._until = 0.0

    def __call__(self) -> str:
        """Return one."""
        if self._overlap or time.time() >= self._until:
            self.made += 1
            self._until = time.time() + self._expires_s
            self._last = tokens.token(expires_s=self._expires_s, jti=str(self.made), **self._what)
        return self._last

    async def later(self) -> str:
        """Return one, once others had their turn."""
        await asyncio.sleep(0)
        return self()


def connect(target: str, token: Token, **more: object) -> Chat:
    """A chat that tries again at once."""
    return bcast_grpc.connect(target, token=token, first_retry_s=0.001, max_retry_s=0.01, **more)  # type: ignore[arg-type]


async def say_numbers(chat: Chat, enough: Callable[[], bool]) -> int:
    """Say numbers at full speed; the last one."""
    last = 0
    while not enough():
        for _ in range(100):
            last += 1
            chat.post(str(last))
        await chat.flush()
    return last


async def talk(target: str, issuer: Issuer, token: Token) -> list[Event]:
    """Talk until an issuer has made some tokens: everything arrives, in order; what else the two were told."""
    listener = Issuer(expires_s=issuer._expires_s, overlap=issuer._overlap, subject="bob")
    enough = 4 / issuer._expires_s
    async with connect(target, token, name="ana") as ana, connect(target, listener, events="none") as bob:
        session = ana.session
        stop = asyncio.Event()

        async def hear() -> tuple[list[int], list[Event]]:
            heard: list[int] = []
            others: list[Event] = []
            async for event in bob:
                if event.kind is Kind.MESSAGE:
                    heard.append(int(event.text))
                else:
                    others.append(event)
                if stop.is_set() and heard and heard[-1] == last:
                    break
            return heard, others

        hearing = asyncio.create_task(hear())
        last = await say_numbers(ana, lambda: min(issuer.made, listener.made) > enough)
        stop.set()
        ana.post(str(last := last + 1))
        heard, others = await hearing
        assert heard == list(range(1, last + 1))
        if issuer._overlap:
            assert ana.session == session
        await ana.leave()
        return others + [event async for event in ana]


@pytest.mark.parametrize("how", ["a function", "an async function"])
async def test_a_renewal_at_full_speed_is_not_noticed(guarded: str, how: str) -> None:
    """Nothing is lost, repeated or reported, and the connection stays."""
    issuer = Issuer(expires_s=2)  # a busy machine takes a while to renew
    assert await talk(guarded, issuer, issuer if how == "a function" else issuer.later) == []


async def test_an_expiry_at_full_speed_loses_nothing(guarded: str) -> None:
    """There is a new token only when the last has expired: the chat reconnects with it."""
    issuer = Issuer(overlap=False)
    told = await talk(guarded, issuer, issuer)
    assert {event.kind for event in told} <= {Kind.RECONNECTING, Kind.RESUMED}
    assert Kind.RESUMED in {event.kind for event in told}


async def test_a_constant_token_ends_the_chat_with_it(guarded: str) -> None:
    """There is no other: the event says in advance that it expires, if it was asked for."""
    async with connect(guarded, tokens.token(expires_s=1), events="expiring") as chat:
        assert (await anext(chat)).kind is Kind.EXPIRING
        with pytest.raises(CallError) as ended:
            await anext(chat)
    assert ended.value.code is ErrorCode.TOKEN_EXPIRED


async def test_the_application_sees_that_a_token_expires_only_if_it_asked(guarded: str) -> None:
    """And ``all`` asks for it."""
    async with connect(guarded, Issuer(), events="all") as chat:
        while (await anext(chat)).kind is not Kind.EXPIRING:
            pass


@pytest.mark.parametrize("wrong", ["bad signature", "expired"])
async def test_a_wrong_token_ends_the_first_attempt(guarded: str, wrong: str) -> None:
    """At once, without the token in the error."""
    token = tokens.wrong_tokens()[wrong]
    for given in (token, lambda: token):
        with pytest.raises(CallError) as refused:
            async with connect(guarded, given):
                pass
        assert refused.value.code in (ErrorCode.UNAUTHENTICATED, ErrorCode.TOKEN_EXPIRED)
        assert token not in str(refused.value)


async def test_a_failed_renewal_is_reported_once_and_tried_again(guarded: str) -> None:
    """By an ``ERROR`` that does not repeat what the function said."""
    issuer, calls, renewed, loop = Issuer(expires_s=3), 0, asyncio.Event(), asyncio.get_running_loop()

    def token() -> str:
        nonlocal calls
        calls += 1
        if calls in (2, 3):
            raise LookupError("secret")
        if calls == 5:
            loop.call_soon_threadsafe(renewed.set)
        return issuer()

    async with connect(guarded, token) as chat:
        error = await anext(chat)
        await renewed.wait()  # a renewal that succeeds reports nothing
        await chat.leave()
        assert [event async for event in chat] == []
    assert isinstance(error.detail, Error)
    assert "LookupError" in error.message
    assert "secret" not in repr(error)


async def test_another_subject_does_not_renew(guarded: str) -> None:
    """The refusal is reported, and the stream ends when the token does; then the new one is presented."""
    subjects = iter(["ana"])

    def token() -> str:
        return tokens.token(expires_s=1.5, subject=next(subjects, "eva"))

    async with connect(guarded, token) as chat:
        error = await anext(chat)
        assert isinstance(error.detail, Error)
        assert error.detail.code is ErrorCode.PERMISSION_DENIED
        while (event := await anext(chat)).kind is not Kind.RESUMED:
            assert event.kind in (Kind.RECONNECTING, Kind.ERROR)


async def test_a_gap_for_want_of_a_right_is_passed(guarded: str) -> None:
    """Who may not read the history goes on at the head, and resumes from there the next time."""
    issuer = Issuer(overlap=False, rooms={"lobby": ["join", "send"]})
    async with connect(guarded, issuer) as ana, connect(guarded, tokens.token(subject="bob")) as bob:
        gaps: list[Event] = []
        while len(gaps) < 2:
            await bob.send("hola")
            while ana._events:
                event = await anext(ana)
                gaps += [event] if event.kind is Kind.GAP else []
    first, second = (gap.detail for gap in gaps)
    assert isinstance(first, Gap)
    assert isinstance(second, Gap)
    assert first.reason is second.reason is GapReason.NOT_ALLOWED
    assert second.first_missed > first.last_missed


async def test_a_sync_chat_renews_too(guarded: str) -> None:
    """From its own thread."""
    issuer = Issuer()

    def talk() -> None:
        with bcast_grpc.connect_sync(guarded, token=issuer) as chat:
            session = chat.session
            while issuer.made < 4:
                chat.send("hola")
            assert chat.session == session

    await asyncio.to_thread(talk)


# --- where tokens come from


async def test_a_file_is_read_each_time(tmp_path: Path) -> None:
    """White space around the token is ignored; the text of an error names the file."""
    path = tmp_path / "token"
    source = Tokens(TokenFile(path), 1)
    for content in (None, "", "two words", "ñ"):
        if content is not None:
            path.write_text(content)
        with pytest.raises(CallError, match=f"token file {path}: ") as missing:
            await source.fetch()
        assert missing.value.retryable
    path.write_text(" one\n")
    assert await source.fetch() == "one"
    assert await source.fetch_new() == ""
    path.write_text("two\n")
    assert await source.fetch_new() == "two"
    assert repr(TokenFile(path)) == f"TokenFile({str(path)!r})"


async def test_an_expired_token_is_not_presented_again() -> None:
    """The server would have to refuse it again and again."""
    given = ["one"]
    source = Tokens(lambda: given[-1], 1)
    assert await source.fetch() == "one"
    source.expired()
    with pytest.raises(CallError) as expired:
        await source.fetch()
    assert expired.value.code is ErrorCode.TOKEN_EXPIRED
    given.append("two")
    assert await source.fetch() == "two"


@pytest.mark.parametrize("returned", [1, b"x", "a b", None])
async def test_what_is_no_token_is_not_sent(returned: object) -> None:
    """The error says what it must be, and not what it was."""
    with pytest.raises(CallError, match="must return a string of printable ASCII"):
        await Tokens(lambda: returned, 1).fetch()  # type: ignore[arg-type, return-value]


async def test_a_function_has_as_long_as_the_server() -> None:
    """Then the attempt has failed."""

    async def never() -> str:
        await asyncio.Event().wait()
        return ""

    with pytest.raises(CallError, match=r"took more than 0\.01 s"):
        await Tokens(never, 0.01).fetch()


def test_a_constant_that_cannot_be_sent_is_a_wrong_argument() -> None:
    """At once, without the token in the text."""
    with pytest.raises(ValueError, match="token: must be printable ASCII") as wrong:
        bcast_grpc.connect(token="top secret")
    assert "secret" not in str(wrong.value)


def test_no_repr_holds_the_token() -> None:
    """Of a chat, and of what it is made of."""
    chat = bcast_grpc.connect(token="secret")
    assert "secret" not in repr(chat) + repr(chat._connection._dialer)
