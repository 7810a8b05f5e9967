"""A process that holds a store: ``python -m tests.integration.holder PATH``. It can be killed, as a server can.

A number on stdin publishes as many messages; it answers with ``EPOCH HEAD FIRST``. The end of stdin closes the store.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bcast_grpc.broker.base import Outcome, Refused
from bcast_grpc.broker.sqlite import SqliteBroker
from bcast_grpc.events import Author, Entry
from tests.broker.desk import Desk


def deliver(outcomes: Sequence[Outcome]) -> None:
    """Exit if anything is refused."""
    for outcome in outcomes:
        if isinstance(outcome, Refused):
            sys.exit(str(outcome.error))


def main() -> None:
    """Hold the store that the argument names."""
    broker = Desk(SqliteBroker(sys.argv[1]))
    order = broker.open("lobby", deliver)
    for line in sys.stdin:
        broker.publish("lobby", [Entry(Author("s", "ana", "key"), "x" * 50, b"", "")] * int(line))
        broker.wait()
        sys.stdout.write(f"{order.epoch} {order.head} {order.oldest}\n")
        sys.stdout.flush()
    broker.close()


if __name__ == "__main__":
    main()
