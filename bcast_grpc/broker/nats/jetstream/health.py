"""Watches the stream while the server runs, so that health says what is wrong with it, and the log says it once."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from time import time
from typing import Any, NoReturn

from bcast_grpc.broker.base import CannotOpen, Report
from bcast_grpc.broker.nats.cluster import Cluster
from bcast_grpc.broker.nats.connection.connection import Connection
from bcast_grpc.broker.nats.jetstream.clocks import Clocks
from bcast_grpc.broker.nats.jetstream.stream import NO_LEADER, NOT_FOUND, ask, no_leader, prepare, unfit

logger = logging.getLogger(__name__)

_EVERY_S = 2.0
_SILENT = 2
_GONE = 3
_UNHEARD_NS = 10_000_000_000
_UNHEARD = 5
_NEEDED = re.compile(r"\.log\.|\.live\.|_inbox|\$js\.", re.IGNORECASE)


class StreamHealth:
    """Says why this server cannot do its work.

    Args:
        connection: to NATS.
        cluster: which log is used.
        trouble: says why records are not stored at the moment; empty if they are.
    """

    def __init__(self, connection: Connection, cluster: Cluster, trouble: Callable[[], str]) -> None:
        self._connection = connection
        self._cluster = cluster
        self._trouble = trouble
        self._report: Report = lambda _: None
        self._lost = self._why = ""
        self._silent = self._gone = 0
        self._away: list[str] = []
        self._clocks = Clocks()
        self._unheard: dict[str, int] = {}

    def connected(self, lost: str) -> None:
        """Note that the connection is there, or why it was lost."""
        self._lost = lost
        self._silent = self._gone = 0
        self._tell()

    async def run(self, configuration: Mapping[str, Any], report: Report) -> NoReturn:
        """Look at the stream every two seconds.

        Args:
            configuration: what the stream must be like.
            report: called with why the server is not ready.
        """
        self._report = report
        if self._connection.is_clustered and self._cluster.replicas == 1:
            logger.warning("the NATS server is one of a cluster, but store-replicas is 1: one of them has the log")
        while True:
            await asyncio.sleep(_EVERY_S)
            if not self._connection.up:
                continue
            why = await self._look(configuration)
            if why != self._why and not self._lost:
                self._why = why
                if why:
                    logger.warning("%s", why)
                else:
                    logger.info("the log in NATS can be used again")
                self._tell()

    @property
    def why(self) -> str:
        """Why this server is not ready; empty if it is."""
        return f"NATS cannot be used: {self._lost}" if self._lost else self._why

    def _tell(self) -> None:
        self._report(self.why)

    async def _look(self, configuration: Mapping[str, Any]) -> str:
        """Return why the stream cannot be used; empty if it can."""
        name = configuration["name"]
        asked_s = time()
        try:
            answer = await ask(self._connection, f"$JS.API.STREAM.INFO.{name}", None)
        except CannotOpen:
            self._silent += 1
            return self._denied() or (no_leader(name) if self._silent >= _SILENT else self._why)
        self._silent = 0
        if error := answer.get("error"):
            if error.get("err_code") == NOT_FOUND:
                return await self._make_again(configuration)
            if error.get("err_code") == NO_LEADER:
                return no_leader(name)
            return f"the stream {name} cannot be used: {error.get('description')}"
        self._gone = 0
        if told := answer.get("ts"):
            self._clocks.compare(asked_s, told, time())
        self._look_at_replicas(answer.get("cluster") or {})
        if found := unfit(configuration, answer["config"]):
            return f"the stream {name} has other settings than it must have: {found}"
        return self._denied() or self._trouble()

    def _denied(self) -> str:
        denials = self._connection.denials
        return denials.words if _NEEDED.search(denials.last) else ""

    async def _make_again(self, configuration: Mapping[str, Any]) -> str:
        """Make the stream again that somebody has deleted, or a NATS server without its disk has lost."""
        name = configuration["name"]
        self._gone += 1
        if not self._cluster.create:
            return f"the stream {name} does not exist; make it, or restore a copy"
        if self._gone >= _GONE:
            try:
                await prepare(self._connection, configuration, create=True)
            except CannotOpen as error:
                return str(error)
            logger.warning("the stream %s was gone, with all messages in it, and has been made again", name)
            return ""
        return f"the stream {name} does not exist"

    def _look_at_replicas(self, cluster: Mapping[str, Any]) -> None:
        self._unheard = {name: self._unheard.get(name, 0) + 1 for name in away_from(cluster)}
        away = sorted(name for name, looks in self._unheard.items() if looks >= _UNHEARD)
        if away != self._away:
            self._away = away
            if away:
                logger.warning("NATS servers that keep the log are away: %s", ", ".join(away))
            else:
                logger.info("all NATS servers that keep the log are there")


def away_from(cluster: Mapping[str, Any]) -> list[str]:
    """Return which of the NATS servers that keep a stream its leader does not hear.

    Args:
        cluster: what the leader says of them, as ``STREAM.INFO`` has it.
    """
    return [
        one["name"]
        for one in cluster.get("replicas") or ()
        if one.get("offline") or one.get("active", 0) > _UNHEARD_NS or _never_heard(one)
    ]


def _never_heard(replica: Mapping[str, Any]) -> bool:
    """Whether the stream's leader has not heard of a replica since it leads."""
    return not replica.get("current") and not replica.get("active")
