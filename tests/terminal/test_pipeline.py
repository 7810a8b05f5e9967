"""A line in is a message, a message is a line out: the program in a pipeline, against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

import bcast_grpc
from bcast_grpc import Event, Kind
from tests import tokens
from tests.client.fake import FakeServer
from tests.client.relay import Relay, http, reset
from tests.forked import Forked
from tests.served import Server

TIMEOUT_S = 60

STARTED: list[Forked] = []


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    """A room of one's own."""
    return str(request.node.name)


@pytest.fixture
async def peer(server: str, room: str) -> AsyncIterator[bcast_grpc.Chat]:
    """Somebody else in that room, who is told who comes and goes."""
    async with bcast_grpc.connect(server, name="peer", room=room, events=["joined", "left"]) as chat:
        yield chat


@pytest.fixture(autouse=True)
async def end_all() -> AsyncIterator[None]:
    """Leave no program behind, whatever failed."""
    yield
    while STARTED:
        process = STARTED.pop()
        if process.returncode is None:
            process.kill()
            await process.communicate()
        process.close()


async def start(target: str, *arguments: str, name: str = "log", stdin: int = PIPE, stdout: int = PIPE) -> Forked:
    """Start the program."""
    process = await Forked.run("bcast_grpc.client", target, "--name", name, *arguments, stdin=stdin, stdout=stdout)
    STARTED.append(process)
    return process


async def finish(process: Process | Forked, given: bytes = b"") -> tuple[int, list[str], list[str]]:
    """Give it the rest of its input and wait for its end: its exit code, and its lines on stdout and stderr."""
    async with asyncio.timeout(TIMEOUT_S):
        stdout, stderr = await process.communicate(given if process.stdin else None)
    assert process.returncode is not None
    assert b"Traceback" not in stderr, stderr.decode()
    return process.returncode, (stdout or b"").decode().splitlines(), stderr.decode().splitlines()


async def until(chat: bcast_grpc.Chat, kind: Kind) -> Event:
    """Wait for an event of a kind, and pass over others."""
    async with asyncio.timeout(TIMEOUT_S):
        async for event in chat:
            if event.kind is kind:
                return event
    raise AssertionError("the chat ended")


async def messages(chat: bcast_grpc.Chat) -> list[str]:
    """The texts of all messages until somebody leaves."""
    texts = []
    async with asyncio.timeout(TIMEOUT_S):
        async for event in chat:
            if event.kind is Kind.LEFT:
                break
            if event.kind is Kind.MESSAGE:
                texts.append(event.text)
    return texts


async def read_line(process: Forked) -> str:
    """Wait for its next line on stdout."""
    async with asyncio.timeout(TIMEOUT_S):
        return (await process.stdout.readline()).decode().removesuffix("\n")


# --- lines in


async def test_a_line_in_is_a_message(peer: bcast_grpc.Chat, server: str, room: str) -> None:
    """In order, whatever ends them, without the empty ones; then it leaves, and all went well."""
    process = await start(server, "--room", room)
    code, out, err = await finish(process, "hola\n\nqué tal\r\n  spaced \n\\n\x1b\nlast".encode())
    assert await messages(peer) == ["hola", "qué tal", "  spaced ", "\\n\x1b", "last"]
    assert (code, out, err) == (0, [], [])


async def test_many_lines_are_sent_fast_and_in_order(
    peer: bcast_grpc.Chat, server: str, room: str, tmp_path: Path
) -> None:
    """From a regular file: more than may be unacknowledged at once, in seconds."""
    path = tmp_path / "lines"
    path.write_text("".join(f"line {number}\n" for number in range(30_000)))
    with path.open() as lines:
        process = await start(server, "--room", room, stdin=lines.fileno())
    texts, (code, _, err) = await asyncio.gather(messages(peer), finish(process))
    assert texts == [f"line {number}" for number in range(30_000)]
    assert (code, err) == (0, [])


async def test_a_line_that_cannot_be_sent_is_told_by_its_number(peer: bcast_grpc.Chat, server: str, room: str) -> None:
    """Too large for the server, too large for anybody, or no text: the others go on, and the exit code is 1."""
    lines = [b"one", b"x" * 70_000, b"three", b"x" * 4_194_304, b"x" * 4_194_305, b"\xff\xfe", b"seven", b""]
    process = await start(server, "--room", room)
    code, _, err = await finish(process, b"\n".join(lines))
    assert await messages(peer) == ["one", "three", "seven"]
    assert code == 1
    told = {
        int(found[1]): found[2]
        for line in err
        if (found := re.match(r"bcast-client: line (\d+) was not sent: (.*)", line))
    }
    assert sorted(told) == [2, 4, 5, 6]
    assert len(err) == 4
    assert "65536" in told[2]
    assert "UTF-8" in told[6]


@pytest.mark.one_engine
async def test_a_byte_order_mark_is_no_text(peer: bcast_grpc.Chat, server: str, room: str) -> None:
    """As programs of Windows write it; in the middle it is a character as any."""
    process = await start(server, "--room", room)
    assert await finish(process, "\ufeffhola\r\n\ufeffz".encode()) == (0, [], [])
    assert await messages(peer) == ["hola", "\ufeffz"]


@pytest.mark.one_engine
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
async def test_utf_16_is_told_and_not_sent(peer: bcast_grpc.Chat, server: str, room: str, encoding: str) -> None:
    """In one line, not in one for each."""
    process = await start(server, "--room", room)
    code, out, err = await finish(process, "\ufeffhola\nqué tal\n".encode(encoding))
    assert await messages(peer) == []
    assert (code, out, len(err)) == (1, [], 1)
    assert "the input is UTF-16, and must be UTF-8" in err[0]


@pytest.mark.one_engine
async def test_a_server_that_never_answers_ends_it_with_69(tmp_path: Path) -> None:
    """After a while, and it says what was not sent."""
    async with FakeServer() as server:
        server.is_deaf = True
        process = await start(server.target)
        code, _, err = await finish(process, b"one\ntwo\n")
    assert code == 69
    assert "no answer within 10 s; 2 requests were not acknowledged" in err[-1]


@pytest.mark.one_engine
async def test_a_line_goes_out_when_it_comes_in(peer: bcast_grpc.Chat, server: str, room: str) -> None:
    """It does not wait for a block to fill, nor for the input's end."""
    process = await start(server, "--room", room)
    assert process.stdin
    for text in ("one", "two"):
        process.stdin.write(f"{text}\n".encode())
        assert (await until(peer, Kind.MESSAGE)).message == f"log: {text}"
    assert (await finish(process))[0] == 0


@pytest.mark.one_engine
async def test_it_may_be_started_without_any_input_or_output(peer: bcast_grpc.Chat, server: str, room: str) -> None:
    """Closed descriptors are an input that has ended and an output that nobody reads."""
    command = f'exec "{sys.executable}" -m bcast_grpc.client {server} --name log --room "$0" <&- >&-'
    process = await asyncio.create_subprocess_exec("sh", "-c", command, room, stderr=PIPE)
    assert (await until(peer, Kind.LEFT)).sender == "log"
    assert (await finish(process))[0] == 0


# --- lines out


async def test_a_message_is_a_line_out_as_soon_as_it_comes(peer: bcast_grpc.Chat, server: str, room: str) -> None:
    """Control characters are escapes; notices go to stderr; an author without a name is no other's name."""
    process = await start(server, "--room", room)
    await until(peer, Kind.JOINED)
    await peer.send("hola\n\x1b[2J\\ \u2028")
    assert await read_line(process) == r"peer: hola\n\x1b[2J\\ \u2028"
    async with bcast_grpc.connect(server, room=room) as nameless:
        await nameless.send("peer: hi")
        assert await read_line(process) == f"«{nameless.session[:6]}»: peer: hi"
    async with bcast_grpc.connect(server, room=room, name="eva: x\\") as eva:
        await eva.send("y")
    assert await read_line(process) == r"eva:\x20x\\: y"
    await peer.rename("ana")
    code, out, err = await finish(process)
    assert (code, out) == (0, [])
    assert err == ["* eva:␣x\\ joined", "* eva:␣x\\ left", "* peer is now ana"]


@pytest.mark.one_engine
async def test_json_is_exact_and_complete(peer: bcast_grpc.Chat, server: str, room: str) -> None:
    """All events as they come, the welcome first, with data and all."""
    process = await start(server, "--room", room, "--json")
    welcome = json.loads(await read_line(process))
    assert welcome["kind"] == "EVENT_KIND_WELCOME"
    assert welcome["welcome"]["room"] == room
    ack = await peer.send("a\n\x1b\x9b\u202e\\", data=b"\x00\xff")
    line = await read_line(process)
    assert line.isprintable()
    event = json.loads(line)
    assert event["message"] == "peer: a\n\x1b\x9b\u202e\\"
    assert (event["sender"], event["session"], event["seq"], event["data"]) == (
        "peer",
        peer.session,
        str(ack.seq),
        "AP8=",
    )
    await peer.rename("eva")
    assert json.loads(await read_line(process))["message"] == "peer is now eva"
    assert await finish(process) == (0, [], [])


@pytest.mark.one_engine
async def test_colour_only_where_it_is_wanted(peer: bcast_grpc.Chat, server: str, room: str) -> None:
    """A filter's output has none unless asked."""
    process = await start(server, "--room", room, "--color", "always")
    await until(peer, Kind.JOINED)
    await peer.send("hola")
    assert re.fullmatch(r"\x1b\[38;5;\d+mpeer\x1b\[0m: hola", await read_line(process))
    await finish(process)


async def test_what_comes_while_it_sends_is_printed_before_it_ends(
    peer: bcast_grpc.Chat, server: str, room: str
) -> None:
    """Whatever was on its way when it left."""
    process = await start(server, "--room", room)
    await until(peer, Kind.JOINED)
    for number in range(5_000):
        peer.post(f"{number}")
    await peer.flush()
    assert (await finish(process, b"bye\n"))[:2] == (0, [f"peer: {number}" for number in range(5_000)])


@pytest.mark.one_engine
async def test_it_sends_while_nobody_reads_its_output(peer: bcast_grpc.Chat, server: str, room: str) -> None:
    """A full pipe on one side does not stop the other."""
    process = await start(server, "--room", room)
    await until(peer, Kind.JOINED)
    for number in range(5_000):
        peer.post(f"{number} {'x' * 100}")
    await peer.flush()
    assert process.stdin
    process.stdin.write(b"still here\n")
    assert (await until(peer, Kind.MESSAGE)).text == "still here"
    assert len((await finish(process))[1]) == 5_000


# --- ends


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
    process = await start(mortal.target, "--follow", "--max-downtime", "0")
    async with bcast_grpc.connect(mortal.target, name="peer", events="joined", max_downtime_s=0) as peer:
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
    assert re.match(r"bcast-client: .*; given up after 0\.\d s; 2 requests were not acknowledged$", err[-1])


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
    path.write_text(tokens.token(expires_s=3))
    process = await start(guarded, "--follow", "--token-file", str(path))
    async with bcast_grpc.connect(guarded, token=tokens.token(), events="joined,left") as peer:
        await until(peer, Kind.JOINED)
        for n in range(8):
            path.write_text(tokens.token(expires_s=3))
            await peer.send(str(n))
            assert await read_line(process) == f"{peer.session and '«' + peer.session[:6] + '»'}: {n}"
            await asyncio.sleep(0.5)  # all in all longer than a token lasts
        await until(peer, Kind.LEFT)
        async with asyncio.timeout(TIMEOUT_S):
            assert "TOKEN_EXPIRED" in (await process.stderr.readline()).decode()
        path.write_text(tokens.token())
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
