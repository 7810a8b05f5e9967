"""How late the messages of others come while a server is flooded: `python -m benchmarks.floods`.

Two clients talk, a message each 10 ms, while attackers in a process of their own flood the server. Shown is for how
many milliseconds a message was late at most, and 99 of 100, and what memory the server held at most. The server has a
core; the attackers share the other with the two that talk, but yield to them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.attacker import CONNECT_BLOCK, Attacker, data, message, request
from benchmarks.attacks import CUT_OFF, UNREAD, WORK, Attack
from benchmarks.load import allow_files
from benchmarks.peers import HERE, LOAD_CORE, OURS, Peer, free_port, pinned, running, with_engines

HTTP_REQUESTS = "HTTP requests, pipelined, on 300 connections"
ATTACKS: Mapping[str, Attack | None] = {"no attack": None, **CUT_OFF, **WORK, **UNREAD, HTTP_REQUESTS: None}
EACH_S = 0.01
GOAL_MS = 200
AT_ONCE = 4
"""Connections of attackers."""
_TALKING = 1
_HTTP_CONNECTIONS = 300


class Talker(Attacker):
    """A client of a room of its own that notes when messages come."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[float] = []

    def _on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == 0:
            self.heard.extend([time.perf_counter()] * payload.count(b"hola"))
        super()._on_frame(kind, flags, stream_id, payload)


async def talk(
    address: str, seconds: float, fields: Sequence[bytes] = (CONNECT_BLOCK, CONNECT_BLOCK), **options: Any
) -> list[float]:
    """Let one talk to another; return by how many seconds each message was late.

    Args:
        address: of the server.
        seconds: how long.
        fields: what the call of each begins with.
        options: of ``create_connection``.
    """
    sender, listener = await Talker.connect(address, **options), await Talker.connect(address, **options)
    for talker, begun_with in zip((sender, listener), fields, strict=True):
        await talker.send(request(_TALKING, begun_with))
        await talker.until(lambda talker=talker: bool(talker.answered))  # type: ignore[misc]
    due: list[float] = []
    while len(due) * EACH_S < seconds:
        due.append(time.perf_counter())
        await sender.send(data(_TALKING, message(b"\x12\x04hola")))
        await asyncio.sleep(EACH_S)
    await listener.until(lambda: len(listener.heard) == len(due))
    sender.close()
    listener.close()
    if len(listener.heard) != len(due):
        raise ConnectionError("the server hung up on those who talk")
    return sorted(heard - sent for heard, sent in zip(listener.heard, due, strict=True))


async def attack(address: str, name: str) -> None:
    """Attack for ever."""
    if name == HTTP_REQUESTS:
        await asyncio.gather(*(_ask_for_health(address) for _ in range(_HTTP_CONNECTIONS)))
    found = ATTACKS[name]
    assert found
    await asyncio.gather(*(_attack(address, found) for _ in range(AT_ONCE)))


async def _attack(address: str, found: Attack) -> None:
    while True:
        attacker = await Attacker.connect(address, found.greeting, reads=found.reads)
        works = found.code is None and found.reads
        await (attacker.work if works else attacker.flood)(found.chunks())
        if works:
            await attacker.is_heard()
            await attacker.until(lambda attacker=attacker: found.done(attacker))  # type: ignore[misc]
            attacker.close()
        await attacker.end()


async def _ask_for_health(address: str) -> None:
    """Ask for the health as fast as the server reads, and read the answers."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))

    async def read() -> None:
        while await reader.read(1 << 16):
            pass

    reading = asyncio.create_task(read())
    while not reading.done():
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
        await writer.drain()
        await asyncio.sleep(0)


@contextmanager
def under_attack(address: str, name: str) -> Iterator[None]:
    """Have a process attack meanwhile."""
    command = pinned(LOAD_CORE, ["nice", sys.executable, "-m", "benchmarks.floods", "--at", address, "--only", name])
    process = subprocess.Popen(command) if ATTACKS[name] or name == HTTP_REQUESTS else None
    try:
        yield
    finally:
        if process:
            process.kill()
            process.wait()


def measure(peer: Peer, name: str, seconds: float) -> str:
    """Measure one flood; return a line of the table."""
    at = f"{HERE}:{free_port()}" if name == HTTP_REQUESTS else ""
    if at:
        peer = replace(peer, command=[*peer.command, "--http-port", at.rpartition(":")[2]])
    with running(peer) as (address, pid), under_attack(at or address, name):
        try:
            late = asyncio.run(asyncio.wait_for(talk(address, seconds), seconds + 60))
        except (TimeoutError, ConnectionError) as error:
            return f"{peer.name:18} {name:45} {str(error) or 'nothing was heard any more'}"
        memory = most_memory(pid)
    worst, p99, p50 = (late[int((len(late) - 1) * part)] * 1000 for part in (1, 0.99, 0.5))
    missed = " missed" if worst > GOAL_MS else ""
    return f"{peer.name:18} {name:45} {worst:9.1f} {p99:9.1f} {p50:9.1f} {memory:9.0f}{missed}"


def most_memory(pid: int) -> float:
    """Return the most MiB that a process ever held; 0 where the system does not say."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floods", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="how long each flood lasts")
    parser.add_argument("--only", default="", help="only attacks whose name contains this")
    parser.add_argument("--engine", action="append", help="a grpc-engine; may be given twice (default: both)")
    parser.add_argument("--at", help="attack a server that runs there, for ever, and measure nothing")
    options = parser.parse_args()
    if options.at:
        asyncio.run(attack(options.at, options.only))
    allow_files(6000)
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    print(f"{'server':18} {'attack':45} {'worst ms':>9} {'p99 ms':>9} {'p50 ms':>9} {'MiB':>9}")
    for name in ATTACKS:
        for peer in with_engines([OURS], options.engine or ["native", "grpcio"]):
            if options.only in name:
                print(measure(peer, name, options.seconds), flush=True)


if __name__ == "__main__":
    main()
