"""The server as the one who runs it sees it: processes, signals, exit codes, logs, health, reflection."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from bcast_grpc import __version__
from bcast_grpc.core.batch import Encoder
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.identity import Caller
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.core.session import Session
from bcast_grpc.events import Request
from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.wire import protobuf
from tests.engine import engine

from .conftest import LocalDoor, ServerProcess, Spawn
from .peers import PATIENCE_S, SCALE, Door, Ending, Peer, within

SERVICE = "bcast_grpc.v1.Chat"
SERVING = health_pb2.HealthCheckResponse.SERVING
REFLECTION = {"native": {"v1", "v1alpha"}, "grpcio": {"v1alpha"}}
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def server(spawn: Spawn) -> ServerProcess:
    """A server in a process of its own, with the settings' defaults."""
    return await spawn()


def health(door: Door) -> Any:
    """The stub of the health service."""
    return health_pb2_grpc.HealthStub(door.channel())


async def watch(door: Door, service: str) -> AsyncIterator[int]:
    """Watch a service's health."""
    call = health(door).Watch(health_pb2.HealthCheckRequest(service=service))
    while True:
        yield (await within(call.read())).status


async def stop_reading(door: Door) -> Peer:
    """Connect a client that does not read, with more queued for it than the connection holds."""
    slow, ana = await door.connect("slow"), await door.connect()
    for n in range(8):
        batch = [pb.ConnectRequest(data=bytes(60_000)) for _ in range(60)]
        await ana.send(pb.ConnectRequest(batch=[*batch, pb.ConnectRequest(msg="hola", id=f"{n}")]))
        await ana.answer(f"{n}")
    await ana.half_close()
    await ana.end()
    return slow


def has_ipv6() -> bool:
    """Whether one can listen on the IPv6 loopback."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


# --- start


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("localhost", "localhost"), ("::1", "[::1]")])
async def test_it_says_where_it_listens(spawn: Spawn, host: str, shown: str) -> None:
    """One line on stdout tells the address, once the server is ready for clients and signals."""
    if host == "::1" and not has_ipv6():
        pytest.skip("no IPv6 here")
    server = await spawn("--host", host)
    [line] = server.said
    address, _, port = line.removeprefix("listening on grpc://").rpartition(":")
    assert address == shown
    assert 0 < int(port) < 65536
    await server.connect()
    server.signal(signal.SIGTERM)
    code, _ = await server.exit()
    assert code == 0
    assert server.said == [line]


async def test_two_servers(spawn: Spawn) -> None:
    """Where a port is in use a second server says so in one line, prints no address, and exits with 2."""
    first = await spawn()
    port = first.address.rpartition(":")[2]
    second = await spawn("--port", port)
    code, stderr = await second.exit()
    assert (code, second.said) == (2, [])
    assert len(stderr.splitlines()) == 1
    assert first.address in stderr
    ana, bob = await first.connect(), await first.connect()
    await ana.say("hola")
    assert (await bob.hear()).message == "hola"


async def test_a_port_of_another_program(spawn: Spawn) -> None:
    """The same where another kind of program has the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = await spawn("--port", str(port))
        code, stderr = await server.exit()
    assert (code, server.said) == (2, [])
    assert len(stderr.splitlines()) == 1
    assert f"127.0.0.1:{port}" in stderr


async def test_an_address_of_another_machine(spawn: Spawn) -> None:
    """An address that is not this machine's is refused in the same way."""
    server = await spawn("--host", "192.0.2.1", "--open")
    code, stderr = await server.exit()
    assert (code, server.said, len(stderr.splitlines())) == (2, [], 1)
    assert "192.0.2.1" in stderr


@pytest.mark.parametrize(
    ("arguments", "code", "on_stdout", "on_stderr"),
    [
        (["--help"], 0, "--drain-s", ""),
        (["--version"], 0, __version__, ""),
        (["--print-config"], 0, "drain_s = 10", ""),
        (["--colour", "red"], 2, "", "--colour"),
        (["--drain-s", "soon"], 2, "", "--drain-s soon"),
        (["--queue-messages", "0"], 2, "", "--queue-messages 0"),
    ],
)
async def test_usage(spawn: Spawn, arguments: list[str], code: int, on_stdout: str, on_stderr: str) -> None:
    """Questions are answered on stdout, with 0; what does not fit is named on stderr, with 2; nothing is started."""
    server = await spawn(*arguments)
    exit_code, stderr = await server.exit()
    stdout = "\n".join(server.said)
    assert exit_code == code
    assert on_stdout in stdout
    assert on_stderr in stderr
    assert bool(stdout) is bool(on_stdout)
    assert bool(stderr) is bool(on_stderr)
    assert "listening" not in stdout


async def test_a_warning_off_loopback(spawn: Spawn) -> None:
    """A server that others can reach, with neither TLS nor tokens, as asked for by ``--open``, warns at the start."""
    server = await spawn("--host", "0.0.0.0", "--open")
    server.signal(signal.SIGTERM)
    code, stderr = await server.exit()
    assert code == 0
    assert "WARNING" in stderr


async def test_a_restart(spawn: Spawn) -> None:
    """When a server is killed its clients see UNAVAILABLE; another can have the port at once, with a new epoch."""
    first = await spawn()
    ana = await first.connect()
    first.signal(signal.SIGKILL)
    assert (await ana.end()).code == StatusCode.UNAVAILABLE
    await first.exit()
    second = await spawn("--port", first.address.rpartition(":")[2])
    again = await second.connect()
    assert second.address == first.address
    assert again.epoch != ana.epoch


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="only Linux has it")
@pytest.mark.grpc_engine("grpcio", reason="native has no thread that polls")
async def test_the_loop_is_not_interrupted(server: ServerProcess) -> None:
    """The poller of gRPC waits for its turn; the loop, in the process's first thread, is a thread like any other."""
    pid = server.process.pid
    threads = [int(name) for name in await asyncio.to_thread(os.listdir, f"/proc/{pid}/task")]
    policies = {thread: os.sched_getscheduler(thread) for thread in threads}
    assert policies[pid] == os.SCHED_OTHER
    assert os.SCHED_BATCH in policies.values()


# --- health and reflection


@pytest.mark.parametrize("service", ["", SERVICE])
async def test_health(door: LocalDoor, service: str) -> None:
    """The server as a whole, and the service by its name, are SERVING."""
    response = await within(health(door).Check(health_pb2.HealthCheckRequest(service=service)))
    assert response.status == SERVING


async def test_health_of_nothing(door: LocalDoor) -> None:
    """A service that is not there is NOT_FOUND."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await within(health(door).Check(health_pb2.HealthCheckRequest(service="bcast_grpc.v2.Chat")))
    assert raised.value.code() == StatusCode.NOT_FOUND


async def test_reflection(door: LocalDoor) -> None:
    """Reflection lists the services and describes ours, for tools that have no ``.proto``."""

    def ask() -> tuple[set[str], dict[str, tuple[str, bool, str, bool]]]:
        with grpc.insecure_channel(door.address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            service = DescriptorPool(database).FindServiceByName(SERVICE)
            methods = {
                method.name: (
                    method.input_type.full_name,
                    method.client_streaming,
                    method.output_type.full_name,
                    method.server_streaming,
                )
                for method in service.methods
            }
            return set(database.get_services()), methods

    services, methods = await asyncio.to_thread(ask)
    reflection = {f"grpc.reflection.{version}.ServerReflection" for version in REFLECTION[engine()]}
    assert services == {SERVICE, "grpc.health.v1.Health", *reflection}
    assert methods == {
        "Connect": ("bcast_grpc.v1.ConnectRequest", True, "bcast_grpc.v1.ConnectResponse", True),
        "Publish": ("bcast_grpc.v1.PublishRequest", False, "bcast_grpc.v1.PublishResponse", False),
        "Subscribe": ("bcast_grpc.v1.SubscribeRequest", False, "bcast_grpc.v1.ConnectResponse", True),
    }


async def test_what_is_not_there(door: LocalDoor) -> None:
    """A method that the service does not have is UNIMPLEMENTED, and no fault."""
    call: Any = door.channel().unary_unary(f"/{SERVICE}/Dance")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await within(call(b""))
    assert raised.value.code() == StatusCode.UNIMPLEMENTED


# --- the end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_drain(server: ServerProcess, number: signal.Signals) -> None:
    """On a signal every client gets what is queued for it, then CLOSING, then UNAVAILABLE; the exit code is 0."""
    ana, bob, reader = await server.connect("ana"), await server.connect("bob", batch="1"), await server.subscribe()
    await ana.send(pb.ConnectRequest(batch=[pb.ConnectRequest(msg=f"{n}", id=f"{n}") for n in range(2000)]))
    await ana.answer("1999")
    server.signal(number)
    endings = await asyncio.gather(ana.end(), bob.end(), reader.end())
    for ending in endings:
        check_closing(ending)
    for ending in endings[1:]:
        messages = [event.message for event in ending.before if event.kind == pb.EVENT_KIND_MESSAGE]
        assert messages == [f"ana: {n}" for n in range(2000)]
    code, stderr = await server.exit()
    assert code == 0
    assert "Traceback" not in stderr
    assert server.said == [f"listening on grpc://{server.address}"]


def check_closing(ending: Ending) -> None:
    """Check the last words of a server that is shutting down."""
    assert (ending.code, ending.reason, ending.domain) == (StatusCode.UNAVAILABLE, "SHUTTING_DOWN", "bcast_grpc")
    assert ending.retryable
    *_, closing = [event for event in ending.before if event.kind != pb.EVENT_KIND_LEFT]
    assert closing.kind == pb.EVENT_KIND_CLOSING
    assert closing.message
    assert closing.closing.reason
    assert closing.closing.reconnect_after.ToTimedelta().total_seconds() > 0


async def test_drain_with_nobody_there(server: ServerProcess) -> None:
    """A server without clients ends at once."""
    server.signal(signal.SIGTERM)
    async with asyncio.timeout(5 * SCALE):
        code, stderr = await server.exit()
    assert code == 0
    assert "Traceback" not in stderr


async def test_not_all_come_back_at_once(server: ServerProcess) -> None:
    """Each client is given its own time to come back."""
    peers = [await server.connect() for _ in range(10)]
    server.signal(signal.SIGTERM)
    endings = [await peer.end() for peer in peers]
    times = {ending.before[-1].closing.reconnect_after.ToNanoseconds() for ending in endings}
    assert len(times) > 5


async def test_what_a_drain_looks_like_from_outside(spawn: Spawn) -> None:
    """While a server drains it is NOT_SERVING, lets nobody in, and waits for slow clients, but not for ever."""
    drain_s = 1.5 * SCALE
    server = await spawn("--drain-s", f"{drain_s}", "--queue-bytes", "67108864")
    states = [watch(server, service) for service in ("", SERVICE)]
    assert [await anext(state) for state in states] == [SERVING, SERVING]
    slow, other = await stop_reading(server), await server.connect()
    began = asyncio.get_running_loop().time()
    server.signal(signal.SIGTERM)
    assert [await anext(state) for state in states] == [NOT_SERVING, NOT_SERVING]
    check_closing(await other.end())
    for ending in (await server.open().end(), await server.publish_in_vain("hola")):
        assert (ending.code, ending.reason) == (StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    code, stderr = await server.exit()
    took_s = asyncio.get_running_loop().time() - began
    assert code == 0
    assert drain_s <= took_s < drain_s + 2 * SCALE
    assert "Traceback" not in stderr
    assert (await slow.end()).code == StatusCode.UNAVAILABLE


async def test_a_slow_client_may_take_its_time(spawn: Spawn) -> None:
    """A client that begins to read during the drain gets all that is queued for it."""
    server = await spawn("--queue-bytes", "67108864")
    slow, other = await stop_reading(server), await server.connect()
    server.signal(signal.SIGTERM)
    check_closing(await other.end())
    ending = await slow.end()
    check_closing(ending)
    assert [event.seq for event in ending.before if event.kind == pb.EVENT_KIND_MESSAGE] == list(range(1, 489))
    assert (await server.exit())[0] == 0


async def test_a_server_in_an_application_drains(door: LocalDoor) -> None:
    """``drain`` ends the calls of an embedded server in the same way, and frees its port."""
    ana, bob = await door.connect("ana"), await door.connect()
    await ana.say("hola", id="1")
    await ana.answer("1")
    await within(door.server.drain())
    check_closing(await ana.end())
    ending = await bob.end()
    check_closing(ending)
    assert ending.before[0].message == "ana: hola"
    host, _, port = door.address.rpartition(":")
    with socket.create_server((host, int(port))):
        pass


# --- the log


async def test_the_log_as_json(spawn: Spawn) -> None:
    """With ``log-format json`` every line on stderr is a JSON object with the time, the level and the message."""
    server = await spawn("--log-format", "json", "--log-level", "debug", "--queue-messages", "10")
    ana, slow = await server.connect("ana"), await server.connect("slow")
    event = pb.ConnectResponse()
    ids = count()
    while event.message != "slow left":
        if event.kind != pb.EVENT_KIND_LEFT:
            await ana.say(data=bytes(60_000), id=f"{next(ids)}")
        event = await ana.hear()
    await slow.end()
    server.signal(signal.SIGTERM)
    await ana.end()
    code, stderr = await server.exit()
    assert code == 0
    lines = [json.loads(line) for line in stderr.splitlines()]
    assert all(set(line) >= {"time", "level", "logger", "message"} for line in lines)
    assert any("slow consumer" in line["message"] for line in lines)


async def test_nobody_can_write_into_the_log(spawn: Spawn) -> None:
    """What clients send cannot break the log's lines."""
    server = await spawn("--log-level", "debug")
    await server.open(pairs=[("bcast-name", "a%0A2026-01-01 ERROR forged")]).end()
    await server.open(pairs=[("bcast-colour", "%0Aforged")]).end()
    ana = await server.connect()
    await ana.send(pb.ConnectRequest(operacion="\nforged", msg="\nforged", id="1"))
    await ana.answer("1")
    server.signal(signal.SIGTERM)
    _, stderr = await server.exit()
    assert not [line for line in stderr.splitlines() if line.startswith(("forged", "2026-01-01"))]


# --- inside an application


async def test_publishing_from_another_thread(door: LocalDoor) -> None:
    """An application publishes into the hub from its own threads; clients get it in the one order, acks come back."""
    ana, bob = await door.connect(), await door.connect(batch="1")
    hub = door.server.hub
    acks: list[int] = []

    def work(name: str) -> None:
        for n in range(200):
            acknowledged = threading.Event()
            admission = asyncio.run(hub.admit(Hello(name=name), Caller(name)))
            publisher = Publisher(admission, answer=lambda _, done=acknowledged: done.set())  # type: ignore[misc]
            publisher.publish(Request(msg=f"{n}"))
            assert acknowledged.wait(PATIENCE_S)
            publisher.close()
            acks.append(n)

    await asyncio.gather(*(asyncio.to_thread(work, name) for name in ("one", "two", "three")))
    await ana.say("the end")
    events = await bob.hear_until("the end")
    assert len(acks) == len(events) == 600
    assert [event.seq for event in events] == list(range(1, 601))
    for name in ("one", "two", "three"):
        assert [event.message for event in events if event.sender == name] == [f"{name}: {n}" for n in range(200)]


async def test_coming_and_going_in_another_thread(door: LocalDoor) -> None:
    """Sessions may come, speak and leave in any thread, while clients are connected and speak too."""
    ana = await door.connect(events="all", batch="1")
    hub = door.server.hub
    encoder = Encoder(protobuf.encode_batches, protobuf.MAX_BATCH_BYTES)

    def work(name: str) -> None:
        for n in range(50):
            session = Session(asyncio.run(hub.admit(Hello(name=name), Caller(name))), encoder, wake=lambda: None)
            session.handle([Request(msg=f"{n}"), Request("who")])
            session.close()

    working = asyncio.gather(*(asyncio.to_thread(work, name) for name in ("one", "two")))
    while not working.done():
        await ana.say("hola", id="1")
        await ana.answer("1")
    await working
    await door.publish("the end")
    await ana.hear_until("the end")
    for name in ("one", "two"):
        told = [event.message for event in ana.heard if event.sender == name]
        assert told == [text for n in range(50) for text in (f"{name} joined", f"{name}: {n}", f"{name} left")]
