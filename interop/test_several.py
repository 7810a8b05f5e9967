"""Several targets: a client of each language goes on at another server when its own is of no use."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from secrets import token_hex
from signal import SIGKILL, SIGTERM, Signals

import pytest
from grpc import StatusCode

import bcast_grpc
from tests.nats_server import NatsServer
from tests.page.server import PageServer

from .conftest import ROOM, Run, Serve
from .languages import Language
from .program import PATIENCE_S, Program
from .scripted import Act, Context, acknowledge, ending, playing, stay, tell, unable, welcome

LINES = 300


async def enter(run: Run, language: Language, here: PageServer, there: PageServer) -> Program:
    """Let a program in at the first of two servers that it knows."""
    await there.end()
    ana = await run(language, f"{there.grpc},{here.grpc}", name="ana", room=ROOM)
    await ana.is_in()
    await there.start()
    return ana


async def hear(chat: bcast_grpc.Chat, count: int) -> list[str]:
    """Return the texts of so many messages."""
    texts: list[str] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(texts) < count:
            event = await anext(chat)
            if event.kind is bcast_grpc.Kind.MESSAGE:
                texts.append(event.text)
    return texts


@pytest.mark.parametrize("how", [SIGTERM, SIGKILL])
async def test_a_server_that_ends(
    serve: Serve, run: Run, language: Language, shared_nats: NatsServer, how: Signals
) -> None:
    """Where servers share their rooms, nothing is lost and nothing comes twice, in either direction."""
    shared = "--store", shared_nats.url, "--cluster", token_hex(4), "--history-messages", "10000"
    here, there = [await serve(*shared) for _ in range(2)]
    ana = await enter(run, language, here, there)
    async with bcast_grpc.connect(there.grpc, name="bob", room=ROOM) as bob:
        await bob.send("before")
        await ana.hears("bob: before")
        lines = [f"{n}" for n in range(LINES)]
        talking = asyncio.create_task(ana.say(*({"msg": line} for line in lines)))
        await ana.hears_more(50)
        await here.end(how)
        await bob.send("after")
        await talking
        assert await hear(bob, LINES) == lines
        await ana.is_in(2)
        await ana.hears("bob: after")
        await ana.end_input()
        assert await ana.end() == 0
    assert [event["message"] for event in ana.of_kind("MESSAGE")] == ["bob: before", "bob: after"]
    assert ana.of_kind("WELCOME")[-1]["welcome"]["resumed"]
    assert not ana.of_kind("GAP")
    assert any(line.startswith(f"{here.grpc}: ") for line in ana.err)  # the other may still be said not to be there


async def test_servers_that_share_nothing(serve: Serve, run: Run, language: Language) -> None:
    """The client is told that the order is another one, and hears all that is kept of it."""
    here, there = [await serve() for _ in range(2)]
    ana = await enter(run, language, here, there)
    async with bcast_grpc.connect(there.grpc, name="bob", room=ROOM) as bob:
        await bob.send("before")
        await here.end(SIGKILL)
        await ana.say({"msg": "hola"})
        assert await hear(bob, 1) == ["hola"]
        await ana.hears("bob: before")
    assert [event["gap"] for event in ana.of_kind("GAP")] == [{"reason": "GAP_REASON_NEW_EPOCH"}]


async def lose(context: Context) -> None:
    """Let a client in, and break the call once it has said something."""
    await welcome(context)
    await context.read()
    await context.abort(StatusCode.UNAVAILABLE, "lost")


def losing(until: Callable[[], object], *then: Act) -> Act:
    """Lose a client until something is true, in whatever order it calls servers; then play the acts."""
    acts = list(then)

    async def act(context: Context) -> None:
        await (lose if not until() else acts.pop(0) if len(acts) > 1 else acts[0])(context)

    return act


async def test_a_server_that_is_full(run: Run, language: Language) -> None:
    """It is left alone as long as it asked for, and another one is called at once."""
    full = ending(
        StatusCode.RESOURCE_EXHAUSTED, "full", domain="bcast_grpc", retryable=True, retry_after_s=600, let_in=False
    )
    async with playing(full) as one, playing(losing(lambda: one.calls, lose, stay)) as other:
        program = await run(language, f"{one.address},{other.address}")
        await program.say({"msg": "hola", "id": "1"})
        await program.is_answered("1")
        assert [len(calls) for calls in one.calls.values()] == [1]


async def test_a_server_without_its_store(run: Run, language: Language) -> None:
    """What it could not store another one does, under the same id."""
    async with playing(unable) as one, playing(lose, stay) as other:
        program = await run(language, f"{one.address},{other.address}")
        await program.say({"msg": "hola", "id": "1"})
        await program.until(lambda: program.of_kind("ACK"), "answer")
        assert [event["id"] for event in program.of_kind("ACK")] == ["1"]
        assert [len(calls) for calls in other.calls.values()] == [2]


async def late(context: Context) -> None:
    """Let a client in, and acknowledge what it says first when others would have told it to try again."""
    await welcome(context)
    said = await context.read()
    await asyncio.sleep(2.5)  # as the other server asked for less
    await tell(context, said)
    await acknowledge(context)


async def test_a_server_that_takes_its_time(run: Run, language: Language) -> None:
    """What is on its way to another server is not sent again when it would have been sent to the first one."""
    async with playing(unable) as one, playing(lose, late) as other:
        program = await run(language, f"{one.address},{other.address}")
        await program.say({"msg": "hola", "id": "1"})
        await program.is_answered("1")
        await program.end_input()
        assert await program.end() == 0
        assert [event["id"] for event in program.of_kind("ACK")] == ["1"]


async def test_a_server_that_does_not_answer(run: Run, language: Language) -> None:
    """It holds a client up for ten seconds only, and that is told."""
    programs: list[Program] = []

    def told() -> bool:
        return any("answer in time" in line for program in programs for line in program.err)

    with socket.create_server(("127.0.0.1", 0)) as hole:
        address = "{}:{}".format(*hole.getsockname())
        async with playing(losing(told, stay)) as other:
            programs.append(await run(language, f"{address},{other.address}"))
            await programs[0].say({"msg": "hola", "id": "1"})
            await programs[0].is_answered("1")


@pytest.mark.parametrize("foreign", [True, False])
async def test_what_is_final(run: Run, language: Language, foreign: bool) -> None:
    """What a server refuses is refused by all; that one is another kind of server says nothing of the others."""
    code = StatusCode.UNIMPLEMENTED if foreign else StatusCode.PERMISSION_DENIED
    final = ending(code, "refused: go away", let_in=False)
    async with playing(final) as one, playing(losing(lambda: one.calls, stay)) as other:
        program = await run(language, f"{one.address},{other.address}")
        await program.say({"msg": "hola", "id": "1"})
        if foreign:
            await program.is_answered("1")
            return
        assert await program.end() == 77
        assert "refused: " in program.err[-1]


async def test_no_server_of_the_right_kind(run: Run, language: Language) -> None:
    """Where none is, that is final."""
    final = ending(StatusCode.UNIMPLEMENTED, "refused: no such service", let_in=False)
    async with playing(final) as one, playing(final) as other:
        program = await run(language, f"{one.address},{other.address}")
        assert await program.end() == 1
        assert len(program.err) == 2
        assert [len(calls) for server in (one, other) for calls in server.calls.values()] == [1, 1]
