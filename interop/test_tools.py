"""Calls without stubs, by the tools that people have: ``grpcurl``, ``buf curl`` and ``grpc_health_probe``."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from tests.go_tools import GRPCURL, HEALTH_PROBE, build

from .conftest import Run, Serve
from .languages import Language
from .program import PATIENCE_S


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where they are."""
    folder = tmp_path_factory.mktemp("tools")
    for module in (GRPCURL, HEALTH_PROBE):
        build(module, folder)
    return folder


async def call(*command: str | Path, given: str = "") -> tuple[int, str]:
    """Run a command; return its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=asyncio.subprocess.STDOUT)
    async with asyncio.timeout(PATIENCE_S):
        out, _ = await process.communicate(given.encode())
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_grpcurl(serve: Serve, run: Run, built: list[Language], tools: Path) -> None:
    """It lists, describes, publishes, and holds a conversation."""
    server = await serve()
    grpcurl = (tools / "grpcurl", "-plaintext")
    code, text = await call(*grpcurl, server.grpc, "list")
    assert (code, set(text.split()) >= {"bcast_grpc.v1.Chat", "grpc.health.v1.Health"}) == (0, True)
    code, text = await call(*grpcurl, server.grpc, "describe", "bcast_grpc.v1.Chat")
    assert (code, "rpc Connect" in text) == (0, True)

    bob = await run(built[0], server.grpc, name="bob")
    await bob.is_in()
    chat = (*grpcurl, "-H", "bcast-name: ana", "-d", "@", server.grpc)
    code, text = await call(*chat, "bcast_grpc.v1.Chat/Publish", given='{"msg": "deployed"}')
    assert (code, '"queued": 1' in text) == (0, True)
    code, text = await call(
        *chat, "bcast_grpc.v1.Chat/Connect", given='{"msg": "hola", "id": "1"} {"operacion": "who"}'
    )
    assert (code, "2 here: bob and ana" in text, "EVENT_KIND_ACK" in text) == (0, True, True)
    await bob.hears("ana left")
    assert [event["message"] for event in bob.of_kind("MESSAGE")] == ["ana: deployed", "ana: hola"]


async def test_grpcurl_watches_the_health(serve: Serve, tools: Path) -> None:
    """It hears how it is, and goes on listening until it has heard enough."""
    server = await serve()
    code, text = await call(
        *(tools / "grpcurl", "-plaintext", "-max-time", "3", server.grpc, "grpc.health.v1.Health/Watch")
    )
    assert (code != 0, '"status": "SERVING"' in text, "DeadlineExceeded" in text) == (True, True, True)


async def test_buf_curl(serve: Serve) -> None:
    """It finds the methods by reflection, publishes, and holds a conversation."""
    server = await serve()
    buf = (Path(sys.executable).with_name("buf"), "curl", "--protocol", "grpc", "--http2-prior-knowledge")
    chat = f"http://{server.grpc}/bcast_grpc.v1.Chat"
    code, text = await call(*buf, "-d", '{"msg": "deployed"}', f"{chat}/Publish")
    assert (code, '"seq":"1"' in text.replace(" ", "")) == (0, True), text
    talk = '{"msg": "hola", "id": "1"} {"operacion": "who"}'
    code, text = await call(*buf, "-H", "bcast-name: ana", "-d", "@-", f"{chat}/Connect", given=talk)
    assert (code, "EVENT_KIND_ACK" in text, "1 here: ana" in text) == (0, True, True), text


async def test_health_probe(serve: Serve, tools: Path) -> None:
    """It serves, or it is not there."""
    server = await serve()
    probe = (tools / "grpc-health-probe", "-addr", server.grpc)
    for service in ([], ["-service", "bcast_grpc.v1.Chat"]):
        assert await call(*probe, *service) == (0, "status: SERVING\n")
    await server.end()
    code, _ = await call(*probe)
    assert code != 0
