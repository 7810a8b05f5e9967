"""Each client as a person uses it: on a terminal and in a pipe."""

from __future__ import annotations

import asyncio
import subprocess
from signal import SIGKILL, SIGPIPE

import pytest

from tests.page.server import PageServer

from .conftest import Run, Serve
from .languages import Language
from .program import DEAD_PROXY, PATIENCE_S, Program


async def two(serve: Serve, run: Run, language: Language) -> tuple[PageServer, Program, Program]:
    """Bring two clients to a server."""
    server = await serve()
    bob = await run(language, server.grpc, name="bob")
    ana = await run(language, server.grpc, name="ana")
    await bob.is_in()
    await ana.is_in()
    return server, ana, bob


async def test_lines_in_are_messages_out(serve: Serve, run: Run, language: Language) -> None:
    """Between people; what comes from strangers does nothing to a terminal."""
    server = await serve()
    bob = await run(language, server.grpc, name="bob")
    await bob.is_in()
    ana = await run(language, server.grpc, name="ana ñ", json=False)
    await bob.hears("ana ñ joined")
    await ana.write("hola, ¿qué tal?\n\n  spaces  \r\nlast".encode())
    await bob.say({"msg": "a\u001b[31mb\r\nc\u0000\u007f\u009b d"}, {"operacion": "gritar"})
    await ana.until(lambda: any("bob: " in line for line in ana.out), "bob's message")
    await ana.end_input()
    assert await ana.end() == 0
    assert [line for line in ana.out if "bob: " in line] == ["bob: a�[31mb��c��� d"]
    await bob.hears("ana ñ left")
    assert [event["message"] for event in bob.of_kind("MESSAGE")] == [
        "ana ñ: hola, ¿qué tal?",
        "ana ñ:   spaces  ",
        "ana ñ: last",
    ]


async def test_a_pipe(serve: Serve, run: Run, language: Language) -> None:
    """Whatever is piped in has been said when the program ends, and in its order."""
    server = await serve()
    bob = await run(language, server.grpc, name="bob")
    await bob.is_in()
    ana = await run(language, server.grpc, name="ana", json=False)
    await ana.write(b"".join(b"%d\n" % n for n in range(5000)))
    await ana.end_input()
    assert await ana.end() == 0
    await bob.hears("ana left")
    assert [event["message"] for event in bob.of_kind("MESSAGE")] == [f"ana: {n}" for n in range(5000)]


async def test_lines_that_do_not_fit(serve: Serve, run: Run, language: Language) -> None:
    """They are told on stderr, and skipped; the exit code says that not all was sent."""
    _, ana, bob = await two(serve, run, language)
    await ana.write(b'{"msg": "no end\n' + b'{"msg":"' + b"x" * 200_000 + b'"}\n' + b'\n{"msg":"hola"}\n')
    await ana.end_input()
    assert await ana.end() == 1
    await bob.hears("ana left")
    assert [event["message"] for event in bob.of_kind("MESSAGE")] == ["ana: hola"]
    assert len(ana.err) >= 2


async def test_leaving(serve: Serve, run: Run, language: Language) -> None:
    """It says goodbye, and is done when that is answered."""
    _, ana, bob = await two(serve, run, language)
    await ana.say({"msg": "hola"}, {"operacion": "leave", "id": "bye"}, {"msg": "not any more"})
    assert await ana.end() == 0
    assert [event["kind"] for event in ana.out if event.get("id") == "bye"] == ["EVENT_KIND_ACK"]
    await bob.hears("ana left")
    assert [event["message"] for event in bob.of_kind("MESSAGE")] == ["ana: hola"]


async def test_batches_of_ones_own(serve: Serve, run: Run, language: Language) -> None:
    """Also as the first and the last that is said."""
    server = await serve()
    bob = await run(language, server.grpc, name="bob")
    await bob.is_in()
    ana = await run(language, server.grpc, name="ana")
    await ana.say({"batch": [{"msg": "1"}, {"msg": "2"}]}, {"batch": [{"msg": "3"}, {"msg": "4"}]})
    await ana.end_input()
    assert await ana.end() == 0
    await bob.hears("ana left")
    assert [event["message"] for event in bob.of_kind("MESSAGE")] == [f"ana: {n}" for n in range(1, 5)]


async def test_interrupted(serve: Serve, run: Run, language: Language) -> None:
    """Ctrl-C is a goodbye, connected or not."""
    server, ana, bob = await two(serve, run, language)
    ana.interrupt()
    assert await ana.end() == 130
    await bob.hears("ana left")
    await server.end(SIGKILL)
    await bob.complains()
    bob.interrupt()
    assert await bob.end() == 130


async def test_no_server_at_first(serve: Serve, run: Run, language: Language) -> None:
    """It tries again until there is one, and says so; what it was given meanwhile is not lost."""
    server = await serve()
    await server.end(SIGKILL)
    ana = await run(language, server.grpc, name="ana", json=False)
    await ana.write(b"hola\n")
    await ana.end_input()
    await ana.complains()
    await server.start()
    assert await ana.end() == 0
    bob = Program(language, server.grpc, name="bob")
    try:
        await bob.start()
        await bob.is_in()
        assert bob.of_kind("WELCOME")[0]["seq"] == "1"
    finally:
        await bob.kill()


@pytest.mark.parametrize("name", ["x" * 65, " ", "a\tb"])
async def test_refused(serve: Serve, run: Run, language: Language, name: str) -> None:
    """A name that does not fit ends it, with the reason."""
    server = await serve()
    ana = await run(language, server.grpc, name=name)
    if name == " ":
        await ana.end_input()
    assert await ana.end() == 1
    assert "name" in " ".join(ana.err)


async def test_replaced_by_nobody(serve: Serve, run: Run, language: Language) -> None:
    """Two of them, even with the same name, are two clients."""
    server = await serve()
    ana, other = [await run(language, server.grpc, name="ana") for _ in range(2)]
    await ana.is_in()
    await other.is_in()
    await other.say({"msg": "hola"})
    await ana.hears("ana: hola")
    assert not ana.err
    assert not other.err


async def test_usage(language: Language) -> None:
    """What is no option is refused, with exit code 2."""
    done = await asyncio.to_thread(
        subprocess.run,
        [*language.run, "--nonsense"],
        cwd=language.folder,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
async def test_the_longest_lines(serve: Serve, run: Run, language: Language, mark: bytes) -> None:
    """A line of 100 000 bytes is taken, whatever stands before and after it; the text in it is heard as it is."""
    _, ana, bob = await two(serve, run, language)
    line = b'{"msg":"' + b"x" * 65_536 + b'"}'
    await ana.write(mark + line.ljust(100_000) + b"\r\n" + line.ljust(100_000))
    await ana.end_input()
    assert await ana.end() == 0
    await bob.hears("ana left")
    assert [event["message"] for event in bob.of_kind("MESSAGE")] == ["ana: " + "x" * 65_536] * 2


@pytest.mark.parametrize("line", [b"x" * 65_537, b"x" * 100_001])
async def test_not_sent(serve: Serve, run: Run, language: Language, line: bytes) -> None:
    """What the client or the server refuses is told, and the exit code is 1; the rest is heard."""
    server = await serve()
    bob = await run(language, server.grpc, name="bob")
    await bob.is_in()
    ana = await run(language, server.grpc, name="ana", json=False)
    await ana.write(b"\xef\xbb\xbfbefore\n" + line + b"\nafter\n")
    await ana.end_input()
    assert await ana.end() == 1
    assert len(ana.err) == 1
    await bob.hears("ana left")
    assert [event["message"] for event in bob.of_kind("MESSAGE")] == ["ana: before", "ana: after"]


async def test_nobody_reads(serve: Serve, run: Run, language: Language) -> None:
    """Where its output is closed, it leaves: at once, or in Java and Node with the next line."""
    server = await serve()
    bob = await run(language, server.grpc, name="bob")
    await bob.is_in()
    ana = await run(language, server.grpc, name="ana")
    await ana.is_in()
    ana.close_output()
    if language.name in {"java", "node"}:
        await bob.say({"msg": "hola"}, {"msg": "hola"})
    await bob.hears("ana left")
    assert await ana.end() in {141, -SIGPIPE}


async def test_a_proxy_in_the_environment(serve: Serve, run: Run, language: Language) -> None:
    """A proxy is of no use on the way to this machine."""
    server = await serve()
    for host in ("127.0.0.1", "localhost"):
        address = server.grpc.replace("127.0.0.1", host)
        ana = await run(language, address, name="ana", environ=DEAD_PROXY)
        await ana.is_in()
        assert not ana.err
