"""What is asked of NATS, and how often."""

from __future__ import annotations

import json
from secrets import token_hex
from types import SimpleNamespace
from typing import Any

import pytest

from bcast_grpc.broker.nats.broker import NatsBroker
from bcast_grpc.broker.nats.cluster import Cluster
from bcast_grpc.broker.nats.connection.connection import Connection
from bcast_grpc.broker.nats.connection.target import Target
from bcast_grpc.broker.nats.jetstream.courier import Courier
from bcast_grpc.broker.nats.log.actions import Append
from bcast_grpc.broker.nats.names import Names
from bcast_grpc.events import Author, Entry
from tests.broker.nats.servers import KEEPING, until
from tests.nats_server import NatsServer

_RECORDS = 600


class Wire:
    """A connection that gives one answer.

    Attributes:
        headers: of the last request.
    """

    def __init__(self, answer: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self.headers: dict[str, str] | None = None
        self._answer = SimpleNamespace(data=json.dumps(answer).encode(), headers=headers)

    async def request(self, _: str, __: bytes, ___: float, headers: dict[str, str] | None = None) -> Any:
        """Answer."""
        self.headers = headers
        return self._answer


class Log:
    """Takes note of what became of an append."""

    def stored(self, _: int, sequence: int) -> list[object]:
        """Note that it is in the log."""
        return ["stored", sequence]

    def refused(self, _: int, last: int | None) -> list[object]:
        """Note that another came first."""
        return ["refused", last]

    def unknown(self, _: int, why: str = "") -> list[object]:
        """Note that nobody knows, and what NATS said."""
        return ["unknown", why]


def _error(code: int, text: str = "") -> dict[str, Any]:
    return {"error": {"err_code": code, "description": text}}


@pytest.mark.parametrize(
    ("answer", "headers", "became"),
    [
        ({"stream": "BCAST_c", "seq": 7}, None, ["stored", 7]),
        (_error(10071, "wrong last sequence: 12"), None, ["refused", 12]),
        (_error(10071, "wrong last sequence"), None, ["refused", None]),
        (_error(10164, "wrong last sequence"), None, ["refused", None]),  # with replicas: the other is not stored yet
        (_error(10077, "maximum bytes exceeded"), None, ["unknown", "maximum bytes exceeded"]),
        ({}, {"Status": "503"}, ["unknown", ""]),
    ],
)
async def test_an_append_is_a_compare_and_set(
    answer: dict[str, Any], headers: dict[str, str] | None, became: list[object]
) -> None:
    """By the room's last record, and never by a ``Nats-Msg-Id``, which would be compared over all rooms."""
    wire = Wire(answer, headers)
    courier = Courier(wire, Names("c"))  # type: ignore[arg-type]
    assert await courier.carry("lobby", Log(), Append(1, 42, b"record")) == became  # type: ignore[arg-type]
    assert wire.headers == {"Nats-Expected-Last-Subject-Sequence": "42"}


async def test_a_long_log_is_read_in_few_requests(shared_nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Record by record it takes a server that comes late ten seconds for a busy room."""
    cluster = Cluster(Target([shared_nats.url]), token_hex(4))
    one, other = NatsBroker(cluster, KEEPING), NatsBroker(cluster, KEEPING)
    await one.start(lambda _: None)
    order = await one.open("lobby")
    order.begin(lambda _: None, lambda _: None)
    for number in range(_RECORDS):
        order.submit([Entry(Author("session", "ana", "ana"), f"{number}", b"", "")])
        await until(lambda: not order.unanswered)
    asked: list[str] = []
    for name in ("request", "collect"):
        monkeypatch.setattr(Connection, name, _counted(getattr(Connection, name), asked))
    await other.start(lambda _: None)
    try:
        assert (await other.open("lobby")).head == _RECORDS
        assert len([subject for subject in asked if ".GET." in subject]) < 10
    finally:
        await one.close()
        await other.close()


def _counted(real: Any, asked: list[str]) -> Any:
    async def counted(self: Connection, subject: str, *arguments: Any) -> Any:
        asked.append(subject)
        return await real(self, subject, *arguments)

    return counted
