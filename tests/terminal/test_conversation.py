"""The interactive program on a terminal of its own, with a real server: what one types, and what one sees."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import pytest

import bcast_grpc
from bcast_grpc import Kind
from tests.client.fake import FakeServer
from tests.served import Server

from .screen import TIMEOUT_S, Terminal

Open = Callable[..., Awaitable[Terminal]]


@pytest.fixture
async def peer(server: str) -> AsyncIterator[bcast_grpc.Chat]:
    """Somebody else in the lobby."""
    async with bcast_grpc.connect(server, name="peer", events=["joined", "left"]) as chat:
        yield chat


@pytest.fixture
async def open_terminal(server: str) -> AsyncIterator[Open]:
    """Open terminals with the program on them, and wait until it is ready."""
    opened: list[Terminal] = []

    async def start(
        *arguments: str, target: str = server, ready: str = "type /help", environment: Mapping[str, str] = {}
    ) -> Terminal:
        terminal = Terminal("--name", "ana", *arguments, environment={"BCAST_TARGET": target, **environment})
        opened.append(terminal)
        await terminal.until_shows(ready)
        return terminal

    yield start
    for terminal in opened:
        terminal.close()


async def hear(chat: bcast_grpc.Chat, kind: Kind = Kind.MESSAGE) -> bcast_grpc.Event:
    """Wait for an event of a kind, and pass over others."""
    async with asyncio.timeout(TIMEOUT_S):
        async for event in chat:
            if event.kind is kind:
                return event
    raise AssertionError("the chat ended")


def line_with(lines: list[str], text: str) -> str:
    """The only line that holds ``text``."""
    (found,) = [line for line in lines if text in line]
    return found


# --- what one sees


async def test_what_is_said_is_shown_with_time_and_author(open_terminal: Open, peer: bcast_grpc.Chat) -> None:
    """Others' words and one's own, in the same columns, and before them who and where one is."""
    terminal = await open_terminal()
    await peer.send("hola, ñandú 👍 日本語")
    await terminal.until_shows("日本語")
    terminal.type("qué tal\r")
    assert (await hear(peer)).message == "ana: qué tal"
    await terminal.until_shows("ana ┃ qué tal")
    theirs, mine = line_with(terminal.lines, "hola"), line_with(terminal.lines, "qué tal")
    assert re.fullmatch(r"\d\d:\d\d +peer │ hola, ñandú 👍 日本語", theirs)
    assert re.fullmatch(r"\d\d:\d\d +ana ┃ qué tal", mine)
    assert theirs.index("│") == mine.index("┃") == terminal.lines[-1].index("┃")
    assert terminal.lines[-1].split() == ["lobby", "ana", "┃"]


async def test_a_line_that_is_being_typed_is_not_torn(open_terminal: Open, peer: bcast_grpc.Chat) -> None:
    """While messages stream in: they are above it, and it is as it was typed."""
    terminal = await open_terminal()
    text = "the quick brown fox jumps over the lazy dog"
    for number, key in enumerate(text):
        terminal.type(key)
        for burst in range(20):
            peer.post(f"message {number} {burst}")
        await peer.flush()
    await terminal.until_shows(f"message {len(text) - 1} 19", text)
    assert terminal.lines[-1].endswith(f"ana ┃ {text}")
    assert all(re.fullmatch(r"\d\d:\d\d +peer │ message \d+ \d+", line) for line in terminal.lines[:-1])
    terminal.type("\r")
    assert (await hear(peer)).text == text


async def test_a_burst_is_shown_with_few_writes(open_terminal: Open, peer: bcast_grpc.Chat) -> None:
    """The prompt is drawn again for a block of messages, not for each: nothing flickers, nothing lags."""
    terminal = await open_terminal()
    before = len(terminal.written)
    for number in range(2_000):
        peer.post(f"{number}")
    await peer.flush()
    await terminal.until_shows("│ 1999")
    written = terminal.written[before:]
    assert written.count("│".encode()) == 2_000
    assert written.count("┃".encode()) < 200


async def test_what_comes_faster_than_it_can_be_shown_is_left_out_and_told(
    open_terminal: Open, peer: bcast_grpc.Chat
) -> None:
    """A person who is behind by seconds would be cut off, or could not type: so they are told how much they miss."""
    terminal = await open_terminal()
    for _ in range(60):
        peer.post("x" * 60_000)
    await peer.flush()
    await terminal.until_shows("! messages come faster")
    terminal.type("I am here\r")
    assert (await hear(peer)).text == "I am here"
    await terminal.until_shows("messages were not shown")
    await peer.send("still there")
    await terminal.until_shows("still there")


async def test_what_others_write_does_nothing_to_the_terminal(open_terminal: Open, server: str) -> None:
    """Control characters in names and texts are symbols, and an author without a name is marked as one."""
    terminal = await open_terminal()
    async with bcast_grpc.connect(server) as nameless, bcast_grpc.connect(server, name="bob> ") as bob:
        await nameless.send("bob: \x1b[2J\x1b]0;title\x07 \x9b31m \u202eright\u2028 to\r left\x08\n00:00 bob │ hi")
        await bob.send("hi")
        await terminal.until_shows("bob> │ hi")
        author = f"«{nameless.session[:6]}» │ "
        assert author in line_with(terminal.lines, "bob: ␛[2J␛]0;title␇ <U+009B>31m <U+202E>right")
        assert re.fullmatch(r" +│ 00:00 bob │ hi", line_with(terminal.lines, "00:00 bob"))
    await terminal.until_shows("* bob> left")
    for obeyed in ("\x1b[2J", "\x07", "\x9b", "\u202e", "\u2028"):
        assert obeyed.encode() not in terminal.written


async def test_who_comes_and_goes_is_told(open_terminal: Open, server: str) -> None:
    """In lines that have no author."""
    terminal = await open_terminal()
    async with bcast_grpc.connect(server, name="eva") as eva:
        await terminal.until_shows("eva joined")
        await eva.rename("bob joined")
    await terminal.until_shows("eva is now bob␣joined", "bob␣joined left")
    assert all("│" not in line for line in terminal.lines)


async def test_lines_fit_a_terminal_that_became_narrower(open_terminal: Open, peer: bcast_grpc.Chat) -> None:
    """A long message is cut at spaces, to the right of the bar."""
    terminal = await open_terminal()
    terminal.resize(50, 24)
    await terminal.until(lambda lines: lines[-1].startswith("lobby") and lines[-1].index("┃") < 20)
    await peer.send("word " * 30)
    await terminal.until(lambda lines: sum(line.count("word") for line in lines) == 30)
    said = [line for line in terminal.lines if "word" in line]
    assert all(len(line) < 50 and re.fullmatch(r"(\d\d:\d\d)? +(peer)? │( word)+", line) for line in said)


async def test_without_colour_there_are_no_codes_for_it(open_terminal: Open, peer: bcast_grpc.Chat) -> None:
    """``NO_COLOR`` is honoured, and what is shown is the same."""
    plain = await open_terminal(environment={"NO_COLOR": "1"})
    painted = await open_terminal()
    await peer.send("hola")
    for terminal in (plain, painted):
        await terminal.until_shows("peer │ hola")
    assert not re.search(rb"\x1b\[[\d;]*[1-9][\d;]*m", plain.written)
    assert re.search(rb"\x1b\[38;5;\d+mpeer", painted.written)


# --- what one types


async def test_several_lines_can_be_pasted_and_typed_as_one_message(open_terminal: Open, peer: bcast_grpc.Chat) -> None:
    """They are sent when Enter is pressed, not before."""
    terminal = await open_terminal()
    await terminal.paste("one\r\ntwo\nthree")
    await terminal.until(lambda lines: lines[-1].endswith("┃ three"))
    terminal.type("\x1b\rfour\r")
    assert (await hear(peer)).text == "one\ntwo\nthree\nfour"
    said = ["┃ one", "┃ two", "┃ three", "┃ four", "┃"]
    await terminal.until(lambda lines: [line[line.find("┃") :] for line in lines[-5:]] == said)


async def test_a_line_with_a_slash_is_a_command(open_terminal: Open, peer: bcast_grpc.Chat) -> None:
    """Two slashes say one; what is no command is not sent; a line of blanks is nothing."""
    terminal = await open_terminal()
    terminal.type("/help\r")
    await terminal.until_shows("/who", "/join NAME", "/quit", "//TEXT")
    terminal.type("/who\r")
    await terminal.until_shows("* 2 here:", "* ana  since ", "* peer  since ")
    terminal.type("/nonsense of mine\r")
    await terminal.until_shows('! "/nonsense" is not a command')
    terminal.type("/join\r")
    await terminal.until_shows("! /join needs")
    terminal.type("  \r//nonsense\r")
    assert (await hear(peer)).text == "/nonsense"


async def test_a_name_can_be_changed(open_terminal: Open, peer: bcast_grpc.Chat) -> None:
    """If it fits; the line that is being typed shows which one has."""
    terminal = await open_terminal()
    terminal.type(f"/join {'x' * 65}\r")
    await terminal.until_shows("! /join: ", "NAME_INVALID")
    terminal.type("/join eva maria\r")
    await terminal.until(lambda lines: lines[-1].split() == ["lobby", "eva␣maria", "┃"])
    terminal.type("hola\r")
    assert (await hear(peer)).message == "eva maria: hola"


async def test_keys_complete_commands_and_bring_back_lines(open_terminal: Open, peer: bcast_grpc.Chat) -> None:
    """Tab, and Up."""
    terminal = await open_terminal()
    terminal.type("/j\teva\r")
    await terminal.until_shows("you are now eva")
    terminal.type("hola\r")
    await terminal.until_shows("eva ┃ hola")
    assert (await hear(peer)).text == "hola"
    terminal.type("\x1b[A\x1b[A\x1b[B!\r")
    assert (await hear(peer)).text == "hola!"


async def test_a_text_that_is_refused_is_told(open_terminal: Open, peer: bcast_grpc.Chat) -> None:
    """By its beginning and with the reason; the conversation goes on."""
    terminal = await open_terminal()
    await terminal.paste("x" * 70_000)
    terminal.type("\r")
    await terminal.until_shows(f'! not sent: "{"x" * 40}…":', "(MESSAGE_TOO_LARGE)")
    terminal.type("hola\r")
    assert (await hear(peer)).text == "hola"


async def test_what_comes_too_fast_is_told(open_terminal: Open) -> None:
    """The server says so of each, and none is repeated."""
    server = Server("--rate", "0.001", "--burst", "1")
    terminal = await open_terminal(target=server.target)
    terminal.type("one\rtwo\r")
    await terminal.until_shows('! not sent: "two": ', "(RATE_LIMITED)")
    assert "┃ one" in "\n".join(terminal.lines)
    terminal.type("\x04")
    assert await terminal.exit() == 0
    server.end(signal.SIGTERM)


# --- how it ends


@pytest.mark.parametrize("typed", ["\x04", "/quit\r"])
async def test_one_can_leave(open_terminal: Open, peer: bcast_grpc.Chat, typed: str) -> None:
    """What was said before is sent; the terminal is as it was, and nothing of the prompt is left."""
    terminal = await open_terminal()
    terminal.type(f"adiós\r{typed}")
    assert await terminal.exit() == 0
    assert (await hear(peer)).text == "adiós"
    assert (await hear(peer, Kind.LEFT)).sender == "ana"
    assert terminal.modes_now == terminal.modes
    assert terminal.lines[-1].endswith("ana ┃ adiós")


async def test_a_terminal_that_is_closed_leaves_well(open_terminal: Open, peer: bcast_grpc.Chat) -> None:
    """What was said before is sent, though nobody can see it any more."""
    terminal = await open_terminal()
    terminal.type("adiós\r")
    await terminal.until_shows("┃ adiós")
    terminal.hang_up()
    assert (await hear(peer)).text == "adiós"
    assert (await hear(peer, Kind.LEFT)).sender == "ana"
    assert await asyncio.to_thread(terminal.process.wait, TIMEOUT_S) == 129


@pytest.mark.parametrize(
    ("number", "code"), [(None, 130), (signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
async def test_it_can_be_interrupted(open_terminal: Open, number: signal.Signals | None, code: int) -> None:
    """By Ctrl-C or a signal, while something is being typed; the terminal is as it was."""
    terminal = await open_terminal()
    terminal.type("half a li")
    await terminal.until_shows("half a li")
    if number:
        terminal.process.send_signal(number)
    else:
        terminal.type("\x03")
    assert await terminal.exit() == code
    assert terminal.modes_now == terminal.modes
    assert "Traceback" not in terminal.written.decode()
    assert "half a li" not in "\n".join(terminal.lines)


@pytest.mark.parametrize(("number", "told"), [(signal.SIGTERM, "SHUTTING_DOWN"), (signal.SIGKILL, "the connection to")])
async def test_a_server_that_goes_away_ends_it(
    open_terminal: Open, mortal: Server, number: signal.Signals, told: str
) -> None:
    """With one line that says so, and exit code 69."""
    terminal = await open_terminal("--max-downtime", "0", target=mortal.target)
    await asyncio.to_thread(mortal.end, number)
    assert await terminal.exit() == 69
    assert told in terminal.last_word
    assert "Traceback" not in terminal.written.decode()
    assert terminal.modes_now == terminal.modes


async def test_a_server_that_comes_back_is_told_in_a_line(open_terminal: Open) -> None:
    """What was typed meanwhile is sent then, and what was said meanwhile is shown."""
    async with FakeServer() as server:
        terminal = await open_terminal(target=server.target)
        await server.stop()
        await terminal.until_shows("reconnecting…")
        terminal.type("hola\r")
        await terminal.until_shows("┃ hola")
        server.say("meanwhile")
        await server.start()
        await terminal.until_shows("* reconnected", "bob │ meanwhile")
        await server.until_said(["hola"])
        terminal.type("\x04")
        assert await terminal.exit() == 0
    assert terminal.written.decode().count("reconnecting") == 1
    assert terminal.written.decode().count("type /help") == 1


async def test_another_server_is_told_in_a_line(open_terminal: Open) -> None:
    """Where one's own is lost while one types; what was typed is there, and what was said arrives."""
    async with FakeServer(2) as server:
        terminal = await open_terminal(target=server.target)
        terminal.type("hol")
        await terminal.until_shows("┃ hol")
        server.drop()
        await terminal.until_shows("reconnecting…", "* reconnected to 127.0.0.1:")
        terminal.type("a\r")
        await server.until_said(["hola"])
        (told,) = re.findall(r"\* reconnected to (\S+)", "\n".join(terminal.lines))
        assert told in server.target.split(",")
        terminal.type("\x04")
        assert await terminal.exit() == 0


async def test_what_was_not_acknowledged_is_told_at_the_end(open_terminal: Open, mortal: Server) -> None:
    """It may or may not have arrived."""
    terminal = await open_terminal("--max-downtime", "0", target=mortal.target)
    mortal.process.send_signal(signal.SIGSTOP)
    terminal.type("hola\r")
    await terminal.until_shows("┃ hola")
    await asyncio.to_thread(mortal.end, signal.SIGKILL)
    assert await terminal.exit() == 69
    assert '! not acknowledged: "hola"' in line_with(terminal.lines, "acknowledged")
    assert "the connection to" in terminal.last_word


@pytest.mark.parametrize(("arguments", "code"), [(["127.0.0.1:1"], 69), (["--room", "a\x1bb"], 2)])
async def test_what_it_cannot_begin_with_ends_it_at_once(open_terminal: Open, arguments: list[str], code: int) -> None:
    """In one line."""
    terminal = await open_terminal(*arguments, ready="bcast-client: ")
    assert await terminal.exit() == code
    assert "Traceback" not in terminal.written.decode()
