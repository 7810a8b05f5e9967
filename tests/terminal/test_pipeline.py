"""A line in is a message, a message is a line out: the program in a pipeline, against a real server."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

import bcast_grpc
from bcast_grpc import Kind
from tests.client.fake import FakeServer

from .piping import finish, messages, read_line, start, until

pytestmark = pytest.mark.usefixtures("end_all")

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
