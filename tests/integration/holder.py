"""A process that holds a store. It can be killed, as a server can."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from bcast_grpc.broker.base import Outcome, Refused
from bcast_grpc.broker.sqlite import SqliteBroker
from bcast_grpc.events import Author, Entry
from tests.broker.desk import Desk


def hold(path: str, asked: Connection, stderr: str) -> None:
    """Hold the store in ``path`` until nobody asks any more.

    A number publishes as many messages; it is answered with the epoch, the head and the oldest place.
    """
    with Path(stderr).open("w") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    broker = Desk(SqliteBroker(path))
    order = broker.open("lobby", _deliver)
    while True:
        try:
            count = asked.recv()
        except EOFError:
            break
        broker.publish("lobby", [Entry(Author("s", "ana", "key"), "x" * 50, b"", "")] * count)
        broker.wait()
        asked.send((order.epoch, order.head, order.oldest))
    broker.close()


def _deliver(outcomes: Sequence[Outcome]) -> None:
    """Exit if anything is refused."""
    for outcome in outcomes:
        if isinstance(outcome, Refused):
            sys.exit(str(outcome.error))
