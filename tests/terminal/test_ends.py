"""How the program in a pipeline ends: with which exit code, and what it says, against a real server."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

import bcast_grpc
from bcast_grpc import Kind
from tests import tokens
from tests.client.fake import FakeServer
from tests.client.relay import Relay, http, reset
from tests.served import Server

from .piping import TIMEOUT_S, finish, messages, read_line, start, until

pytestmark = pytest.mark.usefixtures("end_all")

LASTS_S = 9
"""A token that is to expire: long enough for a program to start with it on a busy machine."""


async def test_it_follows_until_it_is_interrupted(peer: bcast_grpc.Chat, server: str, room: str) -> None:
    """Its input has ended long ago, or blocks: Ctrl-C ends it at once, with 130 and no word."""
    for stdin in (DEVNULL, PIPE):
        process = await start(server, "--room", room, "--follow", stdin=stdin)
        await until(peer, Kind.JOINED)
        await peer.send("hola")
        assert await read_line(process) == "peer: hola"
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(TIMEOUT_S):
            await process.wait()
        assert await finish(process) == (130, [], [])


async def test_a_stream_that_something_on_the_way_breaks_comes_back(
    peer: bcast_grpc.Chat, server: str, room: str
) -> None:
    """Also while a proxy answers with pages for people; stderr tells of it in two lines."""
    async with Relay(server) as relay:
        process = await start(relay.target, "--room", room, "--follow", stdin=DEVNULL)
        await until(peer, Kind.JOINED)
        await peer.send("one")
        assert await read_line(process) == "peer: one"
        relay.answers = [http(502), http(404)]
        relay.say(reset(2))
        await peer.send("two")
        assert await read_line(process) == "peer: two"
        process.send_signal(signal.SIGINT)
        code, _, err = await finish(process)
    assert code == 130
    assert re.fullmatch(r".* was lost: the stream was reset on the way .*; reconnecting…", err[0])
    assert re.match(r"\* reconnected", err[1])


@pytest.mark.one_engine
async def test_it_ends_quietly_when_nobody_reads_on(peer: bcast_grpc.Chat, server: str, room: str) -> None:
    """As for ``| head -1``, with the exit code of a program that SIGPIPE ended."""
    reading, writing = os.pipe()
    process = await start(server, "--room", room, "--follow", stdin=DEVNULL, stdout=writing)
    os.close(writing)
    await until(peer, Kind.JOINED)
    await peer.send("one")
    with os.fdopen(reading) as output:
        assert await asyncio.to_thread(output.readline) == "peer: one\n"
    await peer.send("two")
    assert await finish(process) == (141, [], [])


@pytest.mark.one_engine
@pytest.mark.parametrize("more", [[], ["--json"]])
async def test_it_is_gone_when_its_reader_has_gone(
    peer: bcast_grpc.Chat, server: str, room: str, more: list[str]
) -> None:
    """Without anything to write, which would tell it."""
    reading, writing = os.pipe()
    process = await start(server, "--room", room, "--follow", *more, stdin=DEVNULL, stdout=writing)
    os.close(writing)
    await until(peer, Kind.JOINED)
    os.close(reading)
    assert await finish(process) == (141, [], [])
    assert (await until(peer, Kind.LEFT)).sender == "log"


@pytest.mark.one_engine
async def test_a_socket_that_nobody_reads_ends_it_too(peer: bcast_grpc.Chat, server: str, room: str) -> None:
    """As another program may start it; a file or a device has no readers to lose."""
    ours, theirs = socket.socketpair()
    process = await start(server, "--room", room, "--follow", stdin=DEVNULL, stdout=theirs.fileno())
    theirs.close()
    await until(peer, Kind.JOINED)
    ours.close()
    assert await finish(process) == (141, [], [])
    process = await start(server, "--room", room, "--follow", stdin=DEVNULL, stdout=DEVNULL)
    await until(peer, Kind.JOINED)
    await peer.send("x")
    process.send_signal(signal.SIGINT)
    assert await finish(process) == (130, [], [])


@pytest.mark.parametrize(("number", "told"), [(signal.SIGTERM, "SHUTTING_DOWN"), (signal.SIGKILL, "the connection to")])
async def test_a_server_that_goes_away_ends_it_with_69(mortal: Server, number: signal.Signals, told: str) -> None:
    """And one line on stderr; what was received before is printed."""
    async with bcast_grpc.connect(mortal.target, name="peer", events="joined", max_downtime_s=0) as peer:
        process = await start(mortal.target, "--follow", "--max-downtime", "0")
        await until(peer, Kind.JOINED)
        await peer.send("hola")
        assert await read_line(process) == "peer: hola"
        await asyncio.to_thread(mortal.end, number)
        with pytest.raises(bcast_grpc.BcastError):
            await messages(peer)
        code, _, err = await finish(process)
        assert code == 69
        assert told in err[-1]
        assert [line for line in err if line.startswith("bcast-client: ")] == err[-1:]


@pytest.mark.one_engine
async def test_a_restart_neither_loses_nor_repeats_a_line() -> None:
    """In or out; it says on stderr that it was away, and what it missed."""
    async with FakeServer() as server:
        server.say("before")
        process = await start(server.target, "--follow", "--history", "5")
        assert await read_line(process) == "bob: before"
        assert process.stdin
        server.drop_after = 1
        process.stdin.write(b"one\ntwo\n")
        await server.until_said(["one", "two"])
        server.say("between")  # it comes after the acknowledgements
        assert await read_line(process) == "bob: between"
        await server.stop()
        process.stdin.write(b"three\n")
        server.say("lost")
        server.trim()
        server.say("meanwhile")
        await server.start()
        await server.until_said(["one", "two", "three"])
        assert await read_line(process) == "bob: meanwhile"
        process.send_signal(signal.SIGINT)
        code, out, err = await finish(process)
    assert (code, out) == (130, [])
    assert err[-1] == "* message 5 is missing: no longer kept"
    assert [line.endswith("reconnecting…") for line in err[:-1]] == [True, False] * 2
    assert [line.startswith("* reconnected") for line in err[:-1]] == [False, True] * 2


@pytest.mark.one_engine
async def test_a_server_that_does_not_come_back_ends_it_with_69() -> None:
    """With what was not sent; it had waited as long as it should."""
    async with FakeServer() as server:
        server.say("before")
        process = await start(server.target, "--max-downtime", "0.2", "--history", "1")
        assert await read_line(process) == "bob: before"
        await server.stop()
        code, _, err = await finish(process, b"one\ntwo\n")
    assert code == 69
    assert re.match(r"bcast-client: .*; given up after \d+\.\d s; 2 requests were not acknowledged$", err[-1])


@pytest.mark.one_engine
async def test_no_server_there_ends_it_with_69() -> None:
    """With one line on stderr."""
    code, _, err = await finish(await start("127.0.0.1:1"))
    assert code == 69
    assert len(err) == 1
    assert err[0].startswith("bcast-client: cannot connect to 127.0.0.1:1")


@pytest.mark.parametrize(("name", "arguments"), [("a\x1bb", []), ("x" * 65, []), ("ana", ["--room", "a\x1bb"])])
async def test_a_name_or_a_room_that_does_not_fit_ends_it_with_2(server: str, name: str, arguments: list[str]) -> None:
    """In the server's words, in one line."""
    code, _, err = await finish(await start(server, *arguments, name=name))
    assert code == 2
    assert len(err) == 1
    assert "INVALID" in err[0]


@pytest.mark.one_engine
async def test_who_is_not_let_in_ends_with_77() -> None:
    """Whatever the token; it is sent from the environment too."""
    tokens = []

    async def refuse(_: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        tokens.append(dict(context.invocation_metadata() or ()).get("authorization"))
        detail = Any()
        detail.Pack(ErrorInfo(reason="UNAUTHENTICATED", domain="bcast_grpc"))
        refusal = Status(code=grpc.StatusCode.UNAUTHENTICATED.value[0], message="a token\nis needed", details=[detail])
        await context.abort_with_status(rpc_status.to_status(refusal))

    server = grpc.aio.server()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(refuse)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bcast_grpc.v1.Chat", {"Connect": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    code, _, err = await finish(await start(f"127.0.0.1:{port}", "--token", "secret"))
    _, _, without = await finish(await start(f"127.0.0.1:{port}"))
    await server.stop(None)
    assert [line.partition("; ")[2] for line in without] == ["present one by --token-file or BCAST_TOKEN"]
    assert (code, err) == (
        77,
        ["bcast-client: a token␊is needed (UNAUTHENTICATED)"],
    )
    assert tokens == ["Bearer secret", None]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    """The address of a server that takes tokens."""
    server = Server("--token-keys", str(tokens.key_file(tmp_path)))
    yield server.target
    server.end(signal.SIGTERM)


async def test_a_token_that_is_refused_ends_it_with_77(guarded: str, tmp_path: Path) -> None:
    """In one line, which does not repeat it."""
    path = tmp_path / "token"
    path.write_text(wrong := tokens.token(tokens.rsa_key(1)))
    for arguments in ([], ["--token", wrong], ["--token-file", str(path)]):
        code, _, err = await finish(await start(guarded, *arguments))
        assert (code, len(err)) == (77, 1)
        assert wrong[-20:] not in err[0]


async def test_a_token_file_is_read_again_before_the_token_expires(guarded: str, tmp_path: Path) -> None:
    """The connection stays; when the file is not renewed any more, the program waits for it without a connection."""
    path = tmp_path / "token"
    tokens.put(path, tokens.token(expires_s=LASTS_S))
    async with bcast_grpc.connect(guarded, token=tokens.token(), events="joined,left") as peer:
        process = await start(guarded, "--follow", "--token-file", str(path))
        await until(peer, Kind.JOINED)
        for n in range(8):
            tokens.put(path, tokens.token(expires_s=LASTS_S))
            await peer.send(str(n))
            assert await read_line(process) == f"{peer.session and '«' + peer.session[:6] + '»'}: {n}"
            await asyncio.sleep(LASTS_S / 6)  # all in all longer than a token lasts
        await until(peer, Kind.LEFT)
        async with asyncio.timeout(TIMEOUT_S):
            assert "TOKEN_EXPIRED" in (await process.stderr.readline()).decode()
        tokens.put(path, tokens.token())
        await until(peer, Kind.JOINED)
    process.send_signal(signal.SIGTERM)
    await finish(process)


@pytest.mark.one_engine
async def test_an_input_that_cannot_be_read_ends_it_with_1(server: str, room: str, tmp_path: Path) -> None:
    """In one line."""
    with (tmp_path / "output").open("w") as output:
        code, _, err = await finish(await start(server, "--room", room, stdin=output.fileno()))
    assert code == 1
    assert err == ["bcast-client: cannot read the input or write the output: Bad file descriptor"]
