"""A chat against a real server."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from itertools import islice

import grpc
import pytest

import bcast_grpc
from bcast_grpc import BacklogFull, CallError, Chat, ChatClosed, ConnectionLost, ErrorCode, Event, Kind, RequestError
from tests.forked import Program

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("nothing_left")]


@pytest.fixture
async def ana(server: str, room: str) -> AsyncIterator[Chat]:
    """One in the room."""
    async with bcast_grpc.connect(server, name="ana", room=room) as chat:
        yield chat


@pytest.fixture
async def bob(server: str, room: str, ana: Chat) -> AsyncIterator[Chat]:
    """Another, who came later, and wants to be told of everything."""
    async with bcast_grpc.connect(server, name="bob", room=room, events="all") as chat:
        assert (await anext(chat)).kind is Kind.WELCOME
        yield chat


async def take(chat: Chat, count: int) -> list[Event]:
    """The next events."""
    return [await anext(chat) for _ in range(count)]


async def texts(chat: Chat) -> list[str]:
    """The texts of all messages until the end."""
    return [event.text async for event in chat if event.kind is Kind.MESSAGE]


# --- saying and hearing


async def test_what_is_sent_reaches_the_others_and_is_acknowledged(ana: Chat, bob: Chat) -> None:
    """With its place in the room's order, and how many have it."""
    ack = await ana.send("hola", data=b"\x00\xff")
    event = await anext(bob)
    assert (ack.seq, ack.epoch, ack.queued) == (1, ana.epoch, 1)
    assert (event.message, event.text, event.data, event.seq) == ("ana: hola", "hola", b"\x00\xff", 1)
    assert (event.sender, event.session) == ("ana", ana.session)


async def test_data_alone_is_a_message(ana: Chat, bob: Chat) -> None:
    """Programs need no text."""
    await ana.send(data=b"x")
    assert (await anext(bob)).data == b"x"


async def test_names_and_rooms_need_not_be_ascii(server: str) -> None:
    """Nor without spaces."""
    async with bcast_grpc.connect(server, name="José 100%", room="Süd & 東") as chat:
        assert chat.room == "Süd & 東"
        assert [member.name for member in await chat.members()] == ["José 100%"]


async def test_posts_arrive_all_once_and_in_order(ana: Chat, bob: Chat) -> None:
    """As many as there is room for, and more after a flush."""
    count = 0
    while count < 30_000:
        try:
            ana.post(str(count))
            count += 1
        except BacklogFull:
            await ana.flush()
    await ana.leave()
    assert [event.text for event in await take(bob, count)] == [str(number) for number in range(count)]


async def test_answers_are_no_events(ana: Chat) -> None:
    """Whether they were awaited or not."""
    ana.post("one")
    await ana.send("two")
    await ana.rename("eva")
    await ana.members()
    await ana.leave()
    assert [event async for event in ana] == []


async def test_a_post_that_is_refused_comes_back_as_an_event(ana: Chat) -> None:
    """The flush does not tell, and goes on."""
    ana.post("", id="empty")
    ana.post("x" * 70_000, id="large")
    ana.post("good")
    await ana.flush()
    refused = [(event.kind, event.id, event.detail.code) for event in await take(ana, 2) if event.detail]  # type: ignore[union-attr]
    assert refused == [
        (Kind.ERROR, "empty", ErrorCode.EMPTY_MESSAGE),
        (Kind.ERROR, "large", ErrorCode.MESSAGE_TOO_LARGE),
    ]


async def test_a_request_that_is_refused_raises_and_the_chat_goes_on(ana: Chat) -> None:
    """Each with its own error."""
    with pytest.raises(RequestError) as empty:
        await ana.send("")
    with pytest.raises(RequestError) as blank:
        await ana.rename(" ")
    assert (empty.value.code, blank.value.code) == (ErrorCode.EMPTY_MESSAGE, ErrorCode.NAME_INVALID)
    assert (await ana.send("x")).seq == 1


async def test_renaming_is_told_to_the_others(ana: Chat, bob: Chat) -> None:
    """And known to all who ask."""
    await ana.rename("eva")
    assert (await anext(bob)).message == "ana is now eva"
    assert [member.name for member in await bob.members()] == ["eva", "bob"]
    assert {member.session for member in await ana.members()} == {ana.session, bob.session}


async def test_one_hears_oneself_where_asked_to(server: str, room: str) -> None:
    """Not else."""
    async with bcast_grpc.connect(server, room=room, echo=True) as chat:
        await chat.send("hola")
        assert (await anext(chat)).text == "hola"


async def test_many_tasks_may_send_at_the_same_time(ana: Chat, bob: Chat) -> None:
    """Each gets its own acknowledgement."""
    acks = await asyncio.gather(*(ana.send(str(number)) for number in range(500)))
    events = await take(bob, 500)
    assert {ack.seq: str(number) for number, ack in enumerate(acks)} == {event.seq: event.text for event in events}


# --- the iteration


async def test_the_iteration_may_be_broken_off_and_begun_again(ana: Chat, bob: Chat) -> None:
    """Nothing is lost between."""
    for number in range(100):
        ana.post(str(number))
    await ana.leave()
    heard: list[str] = []
    while len(heard) < 100:
        async for event in bob:
            heard.append(event.text)
            break
    assert heard == [str(number) for number in range(100)]


async def test_a_cancelled_wait_for_an_event_loses_none(ana: Chat, bob: Chat) -> None:
    """Whenever it is cancelled."""
    heard = []
    for number in range(50):
        waiting = asyncio.create_task(anext(bob))
        sending = asyncio.create_task(ana.send(str(number)))
        for _ in range(number):
            await asyncio.sleep(0)
        if waiting.cancel():
            await asyncio.wait([waiting])
        await sending
        heard.append((await anext(bob) if waiting.cancelled() else await waiting).text)
    assert heard == [str(number) for number in range(50)]


async def test_what_was_received_is_still_there_after_leaving(ana: Chat, bob: Chat) -> None:
    """Then the iteration ends well, and leaving again does nothing."""
    for number in range(3):
        await ana.send(str(number))
    await bob.leave()
    await bob.leave()
    assert await texts(bob) == ["0", "1", "2"]
    assert [event async for event in bob] == []
    with pytest.raises(ChatClosed):
        await bob.send("x")
    with pytest.raises(ChatClosed):
        bob.post("x")


async def test_leaving_ends_an_iteration_in_another_task(ana: Chat, bob: Chat) -> None:
    """After all that was received before."""
    hearing = asyncio.create_task(texts(bob))
    await ana.send("hola")
    await bob.leave()
    assert await hearing == ["hola"]


async def test_leaving_is_told_to_the_others(ana: Chat, bob: Chat) -> None:
    """After what was said before."""
    ana.post("bye")
    await ana.leave()
    assert [event.message for event in await take(bob, 2)] == ["ana: bye", "ana left"]


async def test_leaving_by_an_error_is_told_to_the_others(server: str, room: str, bob: Chat) -> None:
    """At once."""
    with pytest.raises(ZeroDivisionError):
        async with bcast_grpc.connect(server, name="eva", room=room):
            raise ZeroDivisionError
    assert [event.message for event in await take(bob, 2)] == ["eva joined", "eva left"]


# --- ends


async def test_who_is_refused_is_told_why(server: str) -> None:
    """With the code of the contract."""
    with pytest.raises(CallError, match="bcast-name: is 65 characters long; a name is 1 to 64 characters") as name:
        await bcast_grpc.connect(server, name="x" * 65).__aenter__()
    with pytest.raises(CallError, match="bcast-events: 'some' is not one of") as events:
        await bcast_grpc.connect(server, events="some").__aenter__()
    assert (name.value.code, events.value.code) == (ErrorCode.NAME_INVALID, ErrorCode.METADATA_INVALID)


async def test_who_connects_again_replaces_himself(server: str, room: str, bob: Chat) -> None:
    """The first one's iteration raises."""
    async with bcast_grpc.connect(server, room=room, client="same") as first:
        async with bcast_grpc.connect(server, room=room, client="same"):
            with pytest.raises(CallError) as caught:
                await anext(first)
        assert caught.value.code is ErrorCode.REPLACED


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("127.0.0.1:1", "cannot connect to 127.0.0.1:1: Connection refused"),
        ("localhost:1", "cannot connect to localhost:1: Connection refused"),
        ("unix:/nowhere.sock", "cannot connect to unix:/nowhere.sock: No such file or directory"),
        ("no-such-host.invalid:1", "cannot connect to no-such-host.invalid:1: "),
    ],
)
async def test_where_no_server_is_the_error_says_so_at_once(target: str, reason: str) -> None:
    """Without waiting for the timeout; name servers may take their own time."""
    chat = bcast_grpc.connect(target, connect_timeout_s=600)
    with pytest.raises(ConnectionLost) as caught:
        await chat.__aenter__()
    assert caught.value.reason.startswith(reason)


async def test_a_server_without_the_tls_that_is_asked_for_is_not_connected_to(server: str) -> None:
    """The reason is that of TLS."""
    credentials = grpc.ssl_channel_credentials()
    with pytest.raises(ConnectionLost, match=f"^cannot connect to {server}: the TLS handshake failed: WRONG_VERSION"):
        await bcast_grpc.connect(server, credentials=credentials).__aenter__()


async def test_no_proxy_stands_between_two_programs_of_one_machine(
    server: str, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What http_proxy names would look for the server on its own machine."""
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    port = server.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", "LOCALHOST", "127.1", "dns:///localhost", "ipv4:127.0.0.1"):
        async with bcast_grpc.connect(f"{host}:{port}", room=room) as chat:
            assert (await chat.send("x")).seq


async def test_the_proxy_of_the_environment_is_asked_for_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by all programs of gRPC."""
    asked: asyncio.Queue[bytes] = asyncio.Queue()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.put_nowait(await reader.readline())
        writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
        monkeypatch.setenv("http_proxy", "http://{}:{}".format(*proxy.sockets[0].getsockname()))
        with pytest.raises(ConnectionLost):
            await bcast_grpc.connect("chat.example:50051").__aenter__()
        assert asked.get_nowait() == b"CONNECT chat.example:50051 HTTP/1.1\r\n"


async def test_a_server_that_is_killed_is_lost_after_all_that_came_before(
    mortal_server: tuple[Program, str],
) -> None:
    """Whoever waits for an answer is told too."""
    process, target = mortal_server
    async with (
        bcast_grpc.connect(target, max_downtime_s=0) as ana,
        bcast_grpc.connect(target, max_downtime_s=0) as bob,
    ):
        for number in range(10):
            await ana.send(str(number))
        first = await anext(bob)
        await bob.members()  # its answer comes after all of them
        process.send_signal(signal.SIGSTOP)
        waiting = asyncio.create_task(ana.send("into the void"))
        await asyncio.sleep(0)
        process.kill()
        with pytest.raises(ConnectionLost, match=f"^the connection to {target} was lost: "):
            await waiting
        heard = [first.text]
        with pytest.raises(ConnectionLost):  # noqa: PT012  # by the iteration
            async for event in bob:
                heard.append(event.text)  # noqa: PERF401
        assert heard == [str(number) for number in range(10)]


async def test_a_server_that_shuts_down_says_when_to_come_back(
    mortal_server: tuple[Program, str],
) -> None:
    """In an event, then in the error that ends the iteration."""
    process, target = mortal_server
    async with bcast_grpc.connect(target, max_downtime_s=0) as chat:
        process.terminate()
        closing = await anext(chat)
        assert closing.kind is Kind.CLOSING
        with pytest.raises(CallError) as caught:
            await anext(chat)
    assert (caught.value.code, caught.value.retryable) == (ErrorCode.SHUTTING_DOWN, True)
    assert isinstance(closing.detail, bcast_grpc.Closing)
    assert caught.value.retry_after_s == pytest.approx(closing.detail.reconnect_after_s)


async def test_a_server_that_came_back_is_found_at_the_next_try(
    mortal_server: tuple[Program, str],
) -> None:
    """A failed try is not remembered."""
    process, target = mortal_server
    process.kill()
    process.wait()
    with pytest.raises(ConnectionLost):
        await bcast_grpc.connect(target).__aenter__()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        writer.close()

    reached = asyncio.Event()
    host, _, port = target.rpartition(":")
    async with await asyncio.start_server(accept, host, int(port)):
        with pytest.raises(ConnectionLost):
            await bcast_grpc.connect(target).__aenter__()
        await reached.wait()


async def test_a_chat_of_many_leaves_nothing_behind(server: str, room: str) -> None:
    """Connected, used and left at the same time."""

    async def visit(number: int) -> str:
        async with bcast_grpc.connect(server, name=f"n{number}", room=room) as chat:
            await chat.send("x")
            return chat.session

    sessions = await asyncio.gather(*(visit(number) for number in range(30)))
    assert len(set(sessions)) == 30


def test_a_chat_may_be_run_again_in_another_loop(server: str, room: str) -> None:
    """Nothing of one loop is kept for the next."""

    async def visit() -> int:
        async with bcast_grpc.connect(server, room=room) as chat:
            return (await chat.send("x")).queued

    assert [asyncio.run(visit()) for _ in islice(iter(int, 1), 3)] == [0, 0, 0]
