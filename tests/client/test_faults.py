"""What no real server does, or not when it is wanted: against servers that are played here."""

from __future__ import annotations

import asyncio
import socket
import uuid
from contextlib import AsyncExitStack, suppress

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

import bcast_grpc
from bcast_grpc import Ack, CallError, ChatClosed, ConnectionLost, ErrorCode, Kind

from .played import (
    HELLO,
    Context,
    ack,
    acknowledge,
    frame_of,
    hang,
    info,
    message,
    reason_of,
    refuse,
    requests,
    serving,
)

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("nothing_left")]

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
