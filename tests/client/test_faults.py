"""What no real server does, or not when it is wanted: against servers that are played here."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from typing import TypeAlias

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

import bcast_grpc
from bcast_grpc import Ack, CallError, ChatClosed, ConnectionLost, ErrorCode, Event, Gap, GapReason, Kind, RequestError
from bcast_grpc.events import Author, Request
from bcast_grpc.wire.protobuf import decode_requests, encode_batches

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("nothing_left")]

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Play: TypeAlias = Callable[[Context], Awaitable[None]]

HELLO = (("bcast-session", "s1"), ("bcast-room", "d%C3%A9v"), ("bcast-epoch", "e1"))


@asynccontextmanager
async def serving(play: Play, *, hello: Sequence[tuple[str, str]] | None = HELLO) -> AsyncIterator[str]:
    """A server that lets everybody in, and then does as ``play`` says."""

    async def connect(_: object, context: Context) -> None:
        if hello is not None:
            await context.send_initial_metadata(tuple(hello))
        await play(context)

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_send_message_length", -1)])
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(connect)
    service = grpc.method_handlers_generic_handler("bcast_grpc.v1.Chat", {"Connect": handler})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def frame_of(*events: Event) -> bytes:
    """One batch frame."""
    ((frame, _),) = encode_batches(events)
    return frame


def message(seq: int, size: int = 1) -> Event:
    """What somebody says."""
    return Event(Kind.MESSAGE, "x" * size, Author("s2", "", "s2"), seq)


def ack(request: Request, seq: int = 0) -> Event:
    """It is done."""
    return Event(Kind.ACK, "sent to 1", id=request.id, detail=Ack(seq, "e1"))


async def requests(context: Context) -> AsyncIterator[Request]:
    """What the client asks for, until it half-closes."""
    while (frame := await context.read()) is not grpc.aio.EOF:  # type: ignore[comparison-overlap]
        for request in decode_requests(frame):
            yield request


async def goodbye(context: Context) -> None:
    """Wait until the client half-closes."""
    async for _ in requests(context):
        pass


async def acknowledge(context: Context) -> None:
    """Acknowledge all that the client asks for."""
    async for request in requests(context):
        await context.write(frame_of(ack(request)))


async def refuse(context: Context, code: grpc.StatusCode, text: str, *details: object) -> None:
    """End the call with a status that carries details."""
    status = status_pb2.Status(code=code.value[0], message=text)
    for detail in details:
        status.details.add().Pack(detail)
    await context.abort_with_status(rpc_status.to_status(status))


def info(reason: str, domain: str = "bcast_grpc") -> error_details_pb2.ErrorInfo:
    """What a server of the contract says in its status."""
    return error_details_pb2.ErrorInfo(reason=reason, domain=domain)


async def hang(_: Context) -> None:
    """Do nothing for ever."""
    await asyncio.Event().wait()


async def reason_of(play: Play, *, hello: Sequence[tuple[str, str]] | None = HELLO) -> bcast_grpc.BcastError:
    """The error that ends a chat with this server, in the iteration or before."""
    async with serving(play, hello=hello) as target:
        with pytest.raises(bcast_grpc.BcastError) as caught:  # noqa: PT012
            async with bcast_grpc.connect(target, max_downtime_s=0) as chat:
                async for _ in chat:
                    pass
    return caught.value


# --- coming in


async def test_what_is_given_is_sent_and_nothing_else() -> None:
    """Readable where it is plain ASCII, percent-encoded where not; a client always has an id, and hears where it is."""
    seen: list[dict[str, str | bytes]] = []

    async def look(context: Context) -> None:
        seen.append(dict(context.invocation_metadata() or ()))
        await context.send_initial_metadata(HELLO)
        await context.read()

    async with serving(look, hello=None) as target, AsyncExitStack() as stack:
        for options in (
            {},
            {
                "name": "José 50%",
                "room": "a/b+c",
                "client": "u-1",
                "events": ("left", "joined"),
                "echo": True,
                "token": "s3cret",
            },
            {"events": ()},
        ):
            await stack.enter_async_context(bcast_grpc.connect(target, **options))
    agents = [str(metadata.pop("user-agent")) for metadata in seen]
    assert all(agent.startswith(f"bcast_grpc-python/{bcast_grpc.__version__} grpc-python") for agent in agents)
    ids = [metadata.pop("bcast-client") for metadata in seen]
    assert ids[1] == "u-1"
    assert len({uuid.UUID(str(id_)) for id_ in (ids[0], ids[2])}) == 2
    assert seen == [
        {"bcast-batch": "1", "bcast-events": "left,welcome"},
        {
            "bcast-batch": "1",
            "bcast-name": "Jos%C3%A9%2050%25",
            "bcast-room": "a/b+c",
            "bcast-events": "left,joined,welcome",
            "bcast-echo": "1",
            "authorization": "Bearer s3cret",
        },
        {"bcast-batch": "1", "bcast-events": "welcome"},
    ]


async def test_what_the_server_said_at_first_is_at_hand() -> None:
    """The room's name is decoded."""
    async with serving(acknowledge) as target:
        chat = bcast_grpc.connect(target)
        assert (chat.session, chat.room, chat.epoch) == ("", "", "")
        async with chat:
            assert (chat.session, chat.room, chat.epoch) == ("s1", "dév", "e1")


async def test_who_listens_but_does_not_answer_is_given_up_in_time() -> None:
    """A port that something else has."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        chat = bcast_grpc.connect(f"127.0.0.1:{mute.getsockname()[1]}", connect_timeout_s=0.2)
        with pytest.raises(ConnectionLost, match=r"^no answer from 127.0.0.1:\d+ within 0.2 s$"):
            await chat.__aenter__()


async def test_a_server_that_lets_nobody_in_is_given_up_in_time() -> None:
    """The connection is good, but no word comes."""
    async with serving(hang, hello=None) as target:
        with pytest.raises(ConnectionLost, match="no answer"):
            await bcast_grpc.connect(target, connect_timeout_s=0.2).__aenter__()


async def test_giving_up_while_connecting_leaves_nothing() -> None:
    """The caller's own timeout may be shorter."""
    async with serving(hang, hello=None) as target:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await bcast_grpc.connect(target).__aenter__()


async def test_a_port_where_something_else_speaks_is_said_to_be() -> None:
    """HTTP/1, for one."""

    async def reply(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(reply, "127.0.0.1", 0) as other:
        host, port = other.sockets[0].getsockname()
        with pytest.raises(ConnectionLost, match=rf"^cannot connect to {host}:{port}: .*HTTP/1 400"):
            await bcast_grpc.connect(f"{host}:{port}").__aenter__()


async def test_a_grpc_server_of_another_kind_is_said_to_be() -> None:
    """It knows no such service."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with pytest.raises(CallError, match=rf"^no bcast_grpc server at 127.0.0.1:{port}: "):
        await bcast_grpc.connect(f"127.0.0.1:{port}").__aenter__()
    await server.stop(None)


async def test_a_call_that_ends_well_before_anybody_is_in_is_no_chat() -> None:
    """Without a session there is none."""

    async def end(_: Context) -> None:
        pass

    assert "the call ended at once" in str(await reason_of(end, hello=None))


async def test_a_refusal_has_its_code_and_how_long_to_wait() -> None:
    """From google.rpc.ErrorInfo and RetryInfo."""

    async def full(context: Context) -> None:
        retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=2, nanos=500_000_000))
        await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "5 clients are here", info("SERVER_FULL"), retry)

    error = await reason_of(full, hello=None)
    assert isinstance(error, CallError)
    assert (error.code, error.reason) == (ErrorCode.SERVER_FULL, "5 clients are here")
    assert (error.retryable, error.retry_after_s) == (True, 2.5)


# --- statuses


async def test_a_code_of_a_newer_server_is_unspecified() -> None:
    """Its text says what it is."""

    async def newer(context: Context) -> None:
        await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "the moon is full", info("FULL_MOON"))

    error = await reason_of(newer)
    assert isinstance(error, CallError)
    assert (error.code, error.reason) == (ErrorCode.UNSPECIFIED, "the moon is full")


@pytest.mark.parametrize(
    ("status", "text", "kind", "code"),
    [
        (grpc.StatusCode.UNAVAILABLE, "upstream is gone", ConnectionLost, ErrorCode.UNSPECIFIED),
        (grpc.StatusCode.CANCELLED, "", ConnectionLost, ErrorCode.UNSPECIFIED),
        (grpc.StatusCode.UNAUTHENTICATED, "no", CallError, ErrorCode.UNAUTHENTICATED),
        (grpc.StatusCode.PERMISSION_DENIED, "no", CallError, ErrorCode.PERMISSION_DENIED),
        (grpc.StatusCode.INTERNAL, "oh", ConnectionLost, ErrorCode.UNSPECIFIED),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "quota", ConnectionLost, ErrorCode.UNSPECIFIED),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "Received message larger than max (5 vs. 4)",
            CallError,
            ErrorCode.MESSAGE_TOO_LARGE,
        ),
        (grpc.StatusCode.UNKNOWN, "what", ConnectionLost, ErrorCode.UNSPECIFIED),
    ],
)
async def test_a_status_without_details_has_the_nearest_meaning(
    status: grpc.StatusCode, text: str, kind: type[bcast_grpc.BcastError], code: ErrorCode
) -> None:
    """Something between client and server made it, or gRPC itself."""

    async def end(context: Context) -> None:
        await context.abort(status, text)

    error = await reason_of(end)
    assert type(error) is kind
    assert error.code is code
    assert text in error.reason


async def test_the_details_of_others_are_not_ours() -> None:
    """Another domain has other codes."""

    async def other(context: Context) -> None:
        await refuse(context, grpc.StatusCode.ABORTED, "no", info("REPLACED", "example.com"))

    assert (await reason_of(other)).code is ErrorCode.UNSPECIFIED


async def test_a_server_that_fails_without_a_word_is_lost() -> None:
    """Its handler raised something, or what is between us and it did."""

    async def fail(_: Context) -> None:
        raise ZeroDivisionError

    assert isinstance(await reason_of(fail), ConnectionLost)


async def test_what_is_no_frame_of_the_contract_ends_the_stream() -> None:
    """Nothing after it could be trusted; another stream may be whole."""

    async def babble(context: Context) -> None:
        await context.write(b"\xff\xff\xff")
        await hang(context)

    error = await reason_of(babble)
    assert isinstance(error, CallError)
    assert (error.code, error.retryable) == (ErrorCode.MALFORMED, True)


@pytest.mark.parametrize("attempt", range(10))
async def test_a_failing_write_hides_neither_the_status_nor_what_came_before_it(attempt: int) -> None:
    """Which gRPC would do: https://github.com/grpc/grpc/issues/36066."""

    async def abort(context: Context) -> None:
        for seq in range(1, 51):
            await context.write(frame_of(message(seq)))
        await context.read()
        await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "too slow", info("SLOW_CONSUMER"))

    async def flood(chat: bcast_grpc.Chat) -> None:
        with suppress(bcast_grpc.BacklogFull):
            while True:
                chat.post("x" * 60_000)
                await asyncio.sleep(0)
        await chat.flush()

    async with serving(abort) as target:
        seqs = []
        with pytest.raises(CallError, match=r"^too slow \(SLOW_CONSUMER\)$"):  # noqa: PT012  # by the iteration
            async with bcast_grpc.connect(target, max_downtime_s=0) as chat:
                flooding = asyncio.create_task(flood(chat))
                async for event in chat:
                    seqs.append(event.seq)  # noqa: PERF401  # the iteration raises
        with pytest.raises(CallError, match="too slow"):
            await flooding
        assert seqs == list(range(1, 51)), attempt


# --- answers that do not come, or late


async def test_who_gives_up_on_an_answer_does_not_disturb_the_chat() -> None:
    """When it comes after all, it is nobody's."""
    late = asyncio.Event()

    async def late_once(context: Context) -> None:
        first, seq = True, 7
        async for request in requests(context):
            if first:
                await late.wait()
            first = False
            await context.write(frame_of(ack(request, 7), message(seq := seq + 1)))

    async with serving(late_once) as target, bcast_grpc.connect(target) as chat:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await chat.send("one")
        late.set()
        assert (await chat.send("two")).seq == 7
        assert [(await anext(chat)).kind for _ in range(2)] == [Kind.MESSAGE] * 2


async def test_leaving_waits_for_all_answers_then_half_closes_then_receives_the_rest() -> None:
    """Also for those that other tasks await."""
    asked = asyncio.Event()
    go = asyncio.Event()

    async def slowly(context: Context) -> None:
        held = [await anext(stream := requests(context)), await anext(stream)]
        asked.set()
        await go.wait()
        for request in held:
            await context.write(frame_of(ack(request)))
        assert [request async for request in stream] == []
        await context.write(frame_of(message(1), message(2)))

    async with serving(slowly) as target, bcast_grpc.connect(target) as chat:
        chat.post("one")
        sending = asyncio.create_task(chat.send("two"))
        await asked.wait()
        leaving = asyncio.create_task(chat.leave())
        await asyncio.sleep(0)
        with pytest.raises(ChatClosed):
            chat.post("three")
        go.set()
        await leaving
        assert await sending == Ack(0, "e1")
        assert [event.seq async for event in chat] == [1, 2]


async def test_a_request_that_the_call_does_not_outlive_has_the_error_that_ended_it() -> None:
    """Each that waits, and the next ones too."""

    async def take_two_and_end(context: Context) -> None:
        await anext(stream := requests(context))
        await anext(stream)
        await refuse(context, grpc.StatusCode.ABORTED, "replaced", info("REPLACED"))

    async with serving(take_two_and_end) as target, bcast_grpc.connect(target) as chat:
        for result in await asyncio.gather(chat.send("x"), chat.members(), return_exceptions=True):
            assert isinstance(result, CallError)
            assert result.code is ErrorCode.REPLACED
        with pytest.raises(CallError, match="REPLACED"):
            chat.post("x")
        with pytest.raises(CallError, match="REPLACED"):
            await chat.rename("eva")
        for _ in range(2):
            with pytest.raises(CallError, match="REPLACED"):
                await anext(chat)


async def test_a_stream_that_ends_well_before_the_goodbye_is_lost() -> None:
    """A server of the contract does so only after it; what came before is given all the same."""

    async def say_one_thing(context: Context) -> None:
        await context.write(frame_of(message(1)))
        await context.read()

    async with serving(say_one_thing) as target, bcast_grpc.connect(target, max_downtime_s=0) as chat:
        with pytest.raises(ConnectionLost, match="the stream was ended"):
            await chat.send("x")
        with pytest.raises(ConnectionLost):
            await chat.send("x")
        assert (await anext(chat)).seq == 1
        with pytest.raises(ConnectionLost):
            await anext(chat)


async def test_posts_that_the_call_does_not_outlive_are_told_by_flush_or_by_leaving() -> None:
    """By the first of them: nothing is lost in silence, and nothing is told twice at the end."""

    async def end(context: Context) -> None:
        await context.read()
        await refuse(context, grpc.StatusCode.ABORTED, "replaced", info("REPLACED"))

    async with serving(end) as target:
        with pytest.raises(CallError, match="REPLACED"):
            async with bcast_grpc.connect(target) as chat:
                chat.post("x")
        async with bcast_grpc.connect(target) as chat:
            chat.post("x")
            for _ in range(2):
                with pytest.raises(CallError, match="REPLACED"):
                    await chat.flush()


# --- leaving in a hurry


async def test_an_error_in_the_body_leaves_at_once() -> None:
    """Whatever was posted, and whoever waits."""
    gone = asyncio.Event()

    async def never_answer(context: Context) -> None:
        try:
            await hang(context)
        finally:
            gone.set()

    async with serving(never_answer) as target:
        with pytest.raises(ZeroDivisionError):  # noqa: PT012
            async with bcast_grpc.connect(target) as chat:
                waiting = [asyncio.create_task(chat.send("x")), asyncio.create_task(chat.flush())]
                iterating = asyncio.create_task(anext(chat, None))
                chat.post("x")
                await asyncio.sleep(0)
                raise ZeroDivisionError
        sent, flushed = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(sent, ChatClosed)
        assert flushed is None or isinstance(flushed, ChatClosed)
        assert await iterating is None
        await gone.wait()


@pytest.mark.parametrize("where", ["body", "leave"])
async def test_a_cancelled_task_leaves_at_once(where: str) -> None:
    """Also while it leaves already, and waits for an answer."""
    there = asyncio.Event()

    async def chat_for_ever(target: str) -> None:
        async with bcast_grpc.connect(target) as chat:
            chat.post("x")
            there.set()
            if where == "body":
                await chat.flush()

    async with serving(hang) as target:
        task = asyncio.create_task(chat_for_ever(target))
        await there.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_chat_that_is_not_entered_says_so() -> None:
    """And one that was, cannot be entered again."""
    async with serving(acknowledge) as target:
        chat = bcast_grpc.connect(target)
        with pytest.raises(ChatClosed, match="not open"):
            await chat.send("x")
        with pytest.raises(ChatClosed, match="not open"):
            await chat.leave()
        async with chat:
            await chat.send("x")
        with pytest.raises(RuntimeError, match="only once"):
            await chat.__aenter__()


# --- leaving a server that does not let go


async def keep_busy(context: Context) -> None:
    """Answer nothing, end nothing, and say something now and then; gRPC answers pings of itself."""
    for seq in count(1):
        await context.write(frame_of(message(seq)))
        await asyncio.sleep(0.01)  # now and then, for ever


@pytest.mark.parametrize("play", [hang, keep_busy])
async def test_leaving_is_bounded_where_the_server_never_ends_the_call(play: Play) -> None:
    """Nothing is missing but the end, which the iteration tells."""
    async with serving(play) as target:
        async with bcast_grpc.connect(target, leave_timeout_s=0.2) as chat:
            pass
        with pytest.raises(ConnectionLost, match=r"the server did not end the call within 0\.2 s after we left"):
            async for _ in chat:
                pass


@pytest.mark.parametrize("play", [hang, keep_busy])
async def test_leaving_is_bounded_where_the_server_answers_nothing(play: Play) -> None:
    """What was not acknowledged is told to all who wait for it."""
    async with serving(play) as target:
        with pytest.raises(ConnectionLost, match=r"no answer within 0\.2 s; 3 requests were not acknowledged"):  # noqa: PT012
            async with bcast_grpc.connect(target, leave_timeout_s=0.2) as chat:
                chat.post("x")
                waiting = [asyncio.create_task(asking) for asking in (chat.send("y"), chat.members())]
                await asyncio.sleep(0)
        for result in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(result, ConnectionLost)


async def test_leaving_waits_as_long_as_answers_come() -> None:
    """However many there are: a slow server is not one that does not answer."""

    async def slowly(context: Context) -> None:
        async for request in requests(context):
            await asyncio.sleep(0.1)  # 20 of them take longer than leaving may
            await context.write(frame_of(ack(request)))

    async with serving(slowly) as target, bcast_grpc.connect(target, leave_timeout_s=1) as chat:
        for _ in range(20):
            chat.post("x")


async def test_the_answer_that_nobody_waits_for_any_more_holds_nobody_up() -> None:
    """Whoever asked has given up."""
    async with serving(goodbye) as target, bcast_grpc.connect(target, leave_timeout_s=60) as chat:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await chat.send("x")


async def test_a_server_that_lets_in_and_throws_out_does_not_keep_who_leaves() -> None:
    """Each time anew, without an answer."""

    async def throw_out(context: Context) -> None:
        await context.read()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "again")

    async with serving(throw_out) as target:
        with pytest.raises(ConnectionLost, match="1 request was not acknowledged"):
            async with bcast_grpc.connect(target, leave_timeout_s=0.3, first_retry_s=0.01, max_retry_s=0.01) as chat:
                chat.post("x")


def test_a_wait_of_no_time_is_refused() -> None:
    """Nobody could leave well."""
    with pytest.raises(ValueError, match="leave_timeout_s must be more than 0, not 0"):
        bcast_grpc.connect(leave_timeout_s=0)


# --- what is written


async def test_many_requests_go_out_in_few_frames() -> None:
    """Small ones until the line has shown how fast it is, then larger ones, none of more than 256 KiB."""
    frames: list[int] = []

    async def count(context: Context) -> None:
        while (frame := await context.read()) is not grpc.aio.EOF:  # type: ignore[comparison-overlap]
            frames.append(len(frame))
            await context.write(frame_of(*(ack(request) for request in decode_requests(frame))))

    async with serving(count) as target, bcast_grpc.connect(target) as chat:
        for _ in range(10_000):
            chat.post("x" * 64)
        await chat.flush()
    assert max(frames) <= 256 * 1024
    assert len(frames) <= 100


# --- what is received


async def test_a_message_as_large_as_the_contract_allows_is_received() -> None:
    """A frame of more than gRPC's own limit."""

    async def shout(context: Context) -> None:
        await context.write(frame_of(message(1, 4 * 1024 * 1024)))
        await goodbye(context)

    async with serving(shout) as target, bcast_grpc.connect(target) as chat:
        assert len((await anext(chat)).message) == 4 * 1024 * 1024


async def test_nobody_takes_events_and_answers_come_all_the_same() -> None:
    """The oldest events make room, and a gap tells which they were."""

    async def flood(context: Context) -> None:
        async for request in requests(context):
            for first in range(1, 1000, 100):
                await context.write(frame_of(*(message(seq) for seq in range(first, first + 100))))
            await context.write(frame_of(ack(request)))

    async with serving(flood) as target, bcast_grpc.connect(target, max_buffered=50) as chat:
        await chat.send("x")
        await chat.leave()
        events = [event async for event in chat]
    assert events[0].detail == Gap(1, 951, GapReason.SLOW)
    assert events[0].message == "you missed messages 1 to 951"
    assert [event.seq for event in events[1:]] == list(range(952, 1001))


async def test_who_takes_events_and_falls_behind_leaves_them_on_the_server() -> None:
    """Nothing is dropped here, and the server sees that it cannot write."""
    stuck = asyncio.Event()
    frames = 0

    async def flood(context: Context) -> None:
        nonlocal frames
        for seq in range(1, 2001):
            writing = asyncio.ensure_future(context.write(frame_of(message(seq, 60_000))))
            try:
                async with asyncio.timeout(None if stuck.is_set() else 0.5):
                    await asyncio.shield(writing)
            except TimeoutError:
                stuck.set()
                await writing
            frames = seq
        await goodbye(context)

    async with serving(flood) as target, bcast_grpc.connect(target, max_buffered=50) as chat:
        seqs = [(await anext(chat)).seq]
        await stuck.wait()
        assert frames < 1000
        seqs += [(await anext(chat)).seq for _ in range(1999)]
    assert seqs == list(range(1, 2001))


async def test_who_awaits_an_answer_behind_more_events_than_fit_gets_it() -> None:
    """It would wait for ever otherwise; the gap tells what made room."""

    async def flood(context: Context) -> None:
        for seq in range(1, 501):
            await context.write(frame_of(message(seq)))
        async for request in requests(context):
            await context.write(frame_of(ack(request, 501)))

    async with serving(flood) as target, bcast_grpc.connect(target, max_buffered=50) as chat:
        assert (await anext(chat)).seq == 1
        assert (await chat.send("x")).seq == 501
        await chat.leave()
        events = [event async for event in chat]
    assert events[0].detail == Gap(2, 451, GapReason.SLOW)
    assert [event.seq for event in events[1:]] == list(range(452, 501))


async def test_who_takes_events_while_an_answer_is_awaited_loses_none() -> None:
    """However small the inbox."""

    async def flood(context: Context) -> None:
        request = await anext(stream := requests(context))
        for first in range(1, 20_000, 100):
            await context.write(frame_of(*(message(seq) for seq in range(first, first + 100))))
        await context.write(frame_of(ack(request)))
        async for _ in stream:
            pass

    async with serving(flood) as target, bcast_grpc.connect(target, max_buffered=50) as chat:
        chat.post("x")
        seqs = [(await anext(chat)).seq for _ in range(20_000)]
    assert seqs == list(range(1, 20_001))


async def test_other_tasks_have_turns_while_events_are_taken() -> None:
    """Though taking what is there waits for nothing."""

    async def flood(context: Context) -> None:
        await context.write(frame_of(*(message(seq) for seq in range(1, 9_001))))
        await goodbye(context)

    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with serving(flood) as target, bcast_grpc.connect(target) as chat:
        await anext(chat)
        counting = asyncio.create_task(count_turns())
        loop = asyncio.get_running_loop()
        while (await anext(chat)).seq < 9_000:
            until = loop.time() + 0.00001
            while loop.time() < until:
                pass
        counting.cancel()
    assert turns >= 10


async def test_a_refused_request_is_told_to_who_asked_and_a_refused_post_in_the_iteration() -> None:
    """With its code, and how long to wait."""

    async def refuse_all(context: Context) -> None:
        async for request in requests(context):
            detail = bcast_grpc.Error(ErrorCode.RATE_LIMITED, "too many", True, 1.5)
            await context.write(frame_of(Event(Kind.ERROR, "too many", id=request.id, detail=detail)))

    async with serving(refuse_all) as target, bcast_grpc.connect(target) as chat:
        with pytest.raises(RequestError) as caught:
            await chat.send("x")
        assert (caught.value.code, caught.value.retry_after_s) == (ErrorCode.RATE_LIMITED, 1.5)
        chat.post("x", id="mine")
        await chat.flush()
        assert ((event := await anext(chat)).kind, event.id) == (Kind.ERROR, "mine")
