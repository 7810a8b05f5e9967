"""Final is what the server says is final, or what proves that it is none; the chat comes back after all else."""

from __future__ import annotations

import asyncio

import pytest

import bcast_grpc
from bcast_grpc import BcastError, CallError, Chat, ErrorCode, Event, Kind, Reconnecting

from . import relay as between
from .relay import Frames, Relay

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("nothing_left")]

PROTOCOL_ERROR, INTERNAL_ERROR, CANCEL, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY = 1, 2, 8, 11, 12

BREAKS = {
    **{f"reset with {code}": between.reset(code) for code in range(14)},
    "ended well though nobody left": between.trailers(("grpc-status", "0")),
    "no status": between.trailers(("server", "proxy")),
    "no trailers at all": between.data(b"", end=True),
    "a status that is no number": between.trailers(("grpc-status", "internal")),
    "a status of later times": between.trailers(("grpc-status", "99")),
    "an error page's bytes": between.data(b"<html>oh</html>" * 10, end=True),
    "a frame that does not parse": between.data(b"\0\0\0\0\x03\xff\xff\xff"),
    "bytes that are no HTTP/2": lambda _: b"\xff" * 64,
    **{
        f"status {code} without details": between.trailers(("grpc-status", str(code)), ("grpc-message", "proxy"))
        for code in (1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 13, 14, 15)
    },
}

HTTP = [200, 204, 301, 302, 400, 401, 403, 404, 405, 407, 408, 413, 418, 429, 500, 501, 502, 503, 504, 520]


def connect(relay: Relay, room: str) -> Chat:
    """A chat that tries again at once."""
    return bcast_grpc.connect(relay.target, name="ana", room=room, first_retry_s=0.001, max_retry_s=0.002)


async def until(chat: Chat, kind: Kind) -> list[Event]:
    """The next events up to one of a kind, with that."""
    events = [await anext(chat)]
    while events[-1].kind is not kind:
        events.append(await anext(chat))
    return events


@pytest.mark.parametrize("frames", BREAKS.values(), ids=BREAKS)
async def test_whatever_breaks_the_stream_the_chat_comes_back(server: str, room: str, frames: Frames) -> None:
    """With what was said meanwhile, and what was posted."""
    async with Relay(server) as relay, bcast_grpc.connect(server, name="bob", room=room, events="none") as bob:
        async with connect(relay, room) as chat:
            await bob.send("one")
            assert (await anext(chat)).text == "one"
            relay.say(frames)
            chat.post("mine")
            lost = await anext(chat)
            await bob.send("two")
            assert isinstance(lost.detail, Reconnecting)
            assert lost.detail.error.retryable
            events = await until(chat, Kind.MESSAGE)
            assert [event.kind for event in events[-2:]] == [Kind.RESUMED, Kind.MESSAGE]
            assert events[-1].text == "two"
        assert (await anext(bob)).text == "mine"


@pytest.mark.parametrize("status", HTTP)
@pytest.mark.parametrize("body", ["", "<html><h1>Sorry</h1></html>"], ids=["empty", "html"])
async def test_a_proxys_answer_is_not_the_servers(server: str, room: str, status: int, body: str) -> None:
    """While it reconnects it tries again; at first it says what the answer was."""
    async with Relay(server) as relay:
        async with connect(relay, room) as chat:
            relay.answers = [between.http(status, body)] * 2
            relay.say(between.reset(INTERNAL_ERROR))
            kinds = [event.kind for event in await until(chat, Kind.RESUMED)]
            assert relay.calls == 4
            assert set(kinds) == {Kind.RECONNECTING, Kind.RESUMED}
        if status >= 300:
            relay.answers = [between.http(status, body)]
            with pytest.raises(BcastError, match=f"the answer was HTTP {status}, not gRPC") as caught:
                await connect(relay, room).__aenter__()
            code = {401: ErrorCode.UNAUTHENTICATED, 403: ErrorCode.PERMISSION_DENIED}.get(status)
            assert caught.value.code is (code or ErrorCode.UNSPECIFIED)
            assert caught.value.retryable


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (between.trailers_only(("grpc-status", "16")), ErrorCode.UNAUTHENTICATED),
        (between.trailers_only(("grpc-status", "7")), ErrorCode.PERMISSION_DENIED),
        (between.trailers_only(("grpc-status", "12")), ErrorCode.UNSPECIFIED),
    ],
)
async def test_who_is_not_let_in_or_finds_no_such_server_does_not_try_again(
    server: str, room: str, answer: Frames, code: ErrorCode
) -> None:
    """It would be told the same."""
    async with Relay(server) as relay, connect(relay, room) as chat:
        relay.answers = [answer]
        relay.say(between.reset(INTERNAL_ERROR))
        with pytest.raises(CallError) as caught:
            await until(chat, Kind.RESUMED)
        assert (caught.value.code, caught.value.retryable) == (code, False)


async def test_a_frame_that_never_parses_is_not_asked_for_at_full_speed(server: str, room: str) -> None:
    """Each pause may be longer than the one before."""
    async with Relay(server) as relay, connect(relay, room) as chat:
        pauses: list[BcastError] = []
        for _ in range(3):
            relay.say(between.data(b"\0\0\0\0\x03\xff\xff\xff"))
            lost = (await until(chat, Kind.RECONNECTING))[-1].detail
            assert isinstance(lost, Reconnecting)
            pauses.append(lost.error)
            await until(chat, Kind.RESUMED)
    assert {error.code for error in pauses} == {ErrorCode.MALFORMED}


async def test_the_synchronous_chat_comes_back_too(server: str, room: str) -> None:
    """It is the same chat."""

    def talk() -> list[Kind]:
        with bcast_grpc.connect_sync(relay.target, room=room, first_retry_s=0.001, max_retry_s=0.002) as chat:
            loop.call_soon_threadsafe(relay.say, between.reset(INTERNAL_ERROR))
            kinds = [next(chat).kind, next(chat).kind]
            chat.send("x")
            return kinds

    async with Relay(server) as relay:
        loop = asyncio.get_running_loop()
        assert await asyncio.to_thread(talk) == [Kind.RECONNECTING, Kind.RESUMED]
