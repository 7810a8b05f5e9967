"""The load as its user sees it: processes, signals, exit codes, figures."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

import pytest

import bcast_grpc
from bcast_grpc.settings import Settings
from bcast_grpc.v1 import chat_pb2 as pb
from tests import tokens
from tests.engine import engine
from tests.forked import Forked
from tests.integration.peers import eventually
from tests.nats_server import NatsServer
from tests.served import Server

from .fake import Fake, honest, serving

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
PATIENCE_S = 60 * float(os.environ.get("TEST_TIMEOUT_SCALE", "1"))

Events = list[pb.ConnectResponse]


@contextmanager
def server(*arguments: str) -> Iterator[str]:
    """A real server in a process of its own; gives the address."""
    with Server("--log-level", "error", *arguments) as server:
        yield server.target


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    """The address of a server for all."""
    with server() as address:
        yield address


async def start(target: str, *arguments: str) -> Forked:
    """Start the load."""
    return await Forked.run("bcast_grpc.bench", target, *arguments, first=os.setpgrp)


async def end(process: Forked) -> tuple[int, str, str]:
    """Wait until it ends; return its exit code and what it said."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
        process.close()
    assert process.returncode is not None
    assert "Traceback" not in err.decode()
    return process.returncode, out.decode(), err.decode()


async def load(target: str, *arguments: str) -> tuple[int, str, str]:
    """The load from its start to its end."""
    return await end(await start(target, *arguments))


def faults(err: str) -> list[str]:
    """The lines on stderr, but for what is said on a machine that is busy."""
    return [line for line in err.splitlines() if "the rate was not reached" not in line]


def size_of(clients: int, senders: int, processes: int = 1) -> list[str]:
    """Arguments for a load of so many."""
    return [f"--clients={clients}", f"--senders={senders}", f"--processes={processes}"]


async def test_all_messages_arrive(target: str) -> None:
    """Across processes and rooms; and JSON is all that is on stdout, with every key that is documented and no other."""
    code, out, err = await load(
        target, *size_of(12, 5, 2), "--rooms=2", "--duration=0.5", "--rate=200", "--size=100", "--json"
    )
    assert (code, faults(err)) == (0, [])
    found = json.loads(out)
    assert found["ok"] is True
    assert found["sent"] == found["acknowledged"] > 0
    assert found["delivered"] == found["sent"] * 5  # to the five others of six in a room
    assert [found[key] for key in ("lost", "repeated", "out_of_order", "own", "foreign")] == [0] * 5
    assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["max"]
    assert set(documented_keys()) == set(found)


def documented_keys() -> list[str]:
    """What docs/operations.md says there is."""
    section = OPERATIONS.read_text().partition("## Load on your own deployment")[2].partition("\n## ")[0]
    return [key for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)]


async def test_senders_are_as_fast_as_they_are_acknowledged(target: str) -> None:
    """Without a rate; the summary is for a person."""
    code, out, _ = await load(target, *size_of(4, 2), "--duration=0.2", "--batch=7")
    assert code == 0
    assert "4 clients, 2 senders, 1 room; 64 bytes, up to 7 a frame; as many messages as are acknowledged" in out
    assert re.search("^faults +none$", out, re.MULTILINE)


async def test_clients_are_spread_over_several_servers(shared_nats: NatsServer) -> None:
    """Those of each room, and where one cannot be reached they are all at the others; the summary says where."""
    store = ("--store", shared_nats.url, "--cluster", token_hex(4))
    with server(*store) as one, server(*store) as other:
        code, out, err = await load(
            f"{one},{other}", *size_of(12, 4, 2), "--rooms=2", "--duration=0.5", "--rate=100", "--json"
        )
        assert (code, faults(err)) == (0, [])
        found = json.loads(out)
        assert found["servers"] == {one: 6, other: 6}
        assert found["delivered"] == found["sent"] * 5
        code, out, err = await load(f"127.0.0.1:1,{one}", *size_of(4, 2), "--duration=0.2")
        assert (code, err) == (0, "")
        assert re.search(f"^target +{one}: 4 clients$", out, re.MULTILINE)


@pytest.mark.one_engine
async def test_no_server_is_an_error() -> None:
    """In one line."""
    code, out, err = await load("127.0.0.1:1", *size_of(4, 2, 2))
    assert (code, out) == (69, "")
    assert err.startswith("bcast_grpc.bench: cannot connect to 127.0.0.1:1: ")
    assert err.count("\n") == 1


async def test_a_full_server_is_an_error() -> None:
    """With what the server says."""
    with server("--max-clients", "3") as target:
        code, out, err = await load(target, *size_of(4, 2))
    assert (code, out) == (69, "")
    assert "SERVER_FULL" in err


async def test_the_token_may_be_in_a_file(tmp_path: Path) -> None:
    """One that is refused is exit code 77."""
    path = tmp_path / "token"
    with server("--token-keys", str(tokens.key_file(tmp_path))) as target:
        for token, expected in ((tokens.token(), 0), (tokens.token(tokens.rsa_key(1)), 77)):
            path.write_text(token)
            code, _, err = await load(target, *size_of(4, 2, 2), "--duration=0.2", f"--token-file={path}")
            assert code == expected
            assert token[-20:] not in err


async def test_a_token_that_expires_is_renewed_at_full_speed(tmp_path: Path) -> None:
    """Nothing is lost meanwhile; without a new one in the file the calls end when it expires."""
    path = tmp_path / "token"
    keys = (str(tokens.key_file(tmp_path)),)
    async with bcast_grpc.Server(Settings(port=0, grpc_engine=engine(), token_keys=keys)) as server:
        for renewed in (True, False):
            path.write_text(tokens.token(expires_s=9))  # until then all must have come in
            arguments = [*size_of(6, 3, 2), "--duration=12", "--json", f"--token-file={path}"]
            process = await start(server.urls[0].partition("//")[2], *arguments, *([] if renewed else ["--rate=50"]))
            if renewed:
                await eventually(lambda: server.hub.clients == 6)
                tokens.put(path, tokens.token())
            code, out, err = await end(process)
            found = json.loads(out)
            assert found["disconnected"] == ({} if renewed else {"TOKEN_EXPIRED": 6}), err
            assert (code, found["lost"]) == (0 if renewed else 69, 0), err


async def test_refused_messages_are_no_losses() -> None:
    """They are told as what they are."""
    with server("--rate", "0.001", "--burst", "3") as target:
        code, out, err = await load(target, *size_of(4, 1), "--duration=0.3", "--batch=2", "--json")
    found = json.loads(out)
    assert code == 1
    assert (found["acknowledged"], found["delivered"], found["lost"]) == (3, 9, 0)
    assert found["refused"] == {"RATE_LIMITED": found["sent"] - 3}
    assert "RATE_LIMITED: the limit is 0.001 messages a second" in err


@pytest.mark.one_engine
@pytest.mark.parametrize(
    ("kill", "number", "expected"),
    [
        (os.killpg, signal.SIGINT, 130),
        (os.kill, signal.SIGINT, 130),
        (os.kill, signal.SIGTERM, 143),
        (os.killpg, signal.SIGHUP, 129),
    ],
)
async def test_a_signal_ends_it_well(kill: Callable[[int, int], None], number: signal.Signals, expected: int) -> None:
    """What was measured until then is told; Ctrl-C goes to all processes of a terminal."""
    fake = Fake(honest)
    async with serving(fake) as target:
        process = await start(target, *size_of(4, 2, 2), "--duration=600", "--rate=100", "--json")
        await fake.heard.wait()
        kill(process.pid, number)
        code, out, _ = await end(process)
    found = json.loads(out)
    assert code == expected
    assert found["interrupted"] is True
    assert found["delivered"] == found["sent"] * 3 > 0


@pytest.mark.one_engine
async def test_a_second_signal_ends_it_at_once() -> None:
    """More than a second after the first, whatever is still awaited; no process is left that keeps stdout open."""
    async with serving(fake := Fake(lambda *_: [])) as target:
        process = await start(target, *size_of(4, 2, 2), "--duration=600", "--grace=600")
        await fake.heard.wait()
        ending = asyncio.create_task(end(process))
        while process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT)  # `send_signal` may take the exit code away from asyncio
            await asyncio.sleep(0.01)  # until one of them is far enough from the first
        assert await ending == (130, "", "")


@pytest.mark.one_engine
async def test_a_signal_before_the_start_ends_it_too() -> None:
    """There is nothing to tell."""
    arrived: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
    silent = await asyncio.start_server(lambda _, writer: arrived.set_result(writer), "127.0.0.1", 0)
    async with silent:
        process = await start("{}:{}".format(*silent.sockets[0].getsockname()), *size_of(1, 1))
        writer = await arrived
        process.send_signal(signal.SIGINT)
        assert await end(process) == (130, "", "")
        writer.close()


@pytest.mark.one_engine
async def test_clients_that_are_thrown_out_are_told() -> None:
    """By the server's code; with all of them gone, the server is lost."""
    fake = Fake(honest)
    fake.throw_out = "SLOW_CONSUMER"
    async with serving(fake) as target:
        code, out, err = await load(target, *size_of(3, 1), "--duration=600", "--rate=100", "--json")
    assert code == 69
    assert json.loads(out)["disconnected"] == {"SLOW_CONSUMER": 3}
    assert "SLOW_CONSUMER: enough" in err


Spoil = Callable[[Events], Events]

SPOILS: dict[str, Spoil] = {
    "lost": lambda events: events[1:],
    "repeated": lambda events: [events[0], *events],
    "out_of_order": lambda events: [events[1], events[0], *events[2:]],
    "foreign": lambda events: [*events, pb.ConnectResponse(kind=pb.EVENT_KIND_MESSAGE, message="hola")],
}


@pytest.mark.one_engine
async def test_what_a_server_does_wrong_is_found() -> None:
    """Each fault once, each at another client; the author gets a message of its own."""
    spoils, spoiled = [*SPOILS.values()], set[int]()

    def deliver(author: int, receiver: int, events: Events) -> Events:
        first = receiver not in spoiled and len(events) > 1
        if first:
            spoiled.add(receiver)
        if author == receiver:
            return events[:1] if first else []
        return spoils.pop()(events) if first and spoils else events

    async with serving(Fake(deliver)) as target:
        code, out, err = await load(target, *size_of(6, 1), "--duration=0.2", "--grace=3", "--batch=4", "--json")
    found = json.loads(out)
    assert code == 1
    assert {name: found[name] for name in (*SPOILS, "own")} == dict.fromkeys((*SPOILS, "own"), 1)
    assert re.search(r"^bcast_grpc.bench: client [1-5]: 1 out of order$", err, re.MULTILINE)
