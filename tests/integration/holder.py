"""A process that holds a store: ``python -m tests.integration.holder PATH``. It can be killed, as a server can.

A number on stdin publishes as many messages; it answers with ``EPOCH HEAD FIRST``. The end of stdin closes the store.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bcast_grpc.broker.sqlite import SqliteBroker
from bcast_grpc.errors import BcastError
from bcast_grpc.events import Author, Entry, Event, Stamp
from tests.broker.desk import Desk


class Room:
    """The room on the other side, which must not be refused anything."""

    def accepted(self, entries: Sequence[Entry | None], events: Sequence[Event]) -> None:
        """It is in the order's history."""

    def repeated(self, entry: Entry, place: Stamp) -> None:
        """Nothing is sent twice here."""

    def refused(self, entries: Sequence[Entry], error: BcastError) -> None:
        """Fail."""
        sys.exit(str(error))


def main() -> None:
    """Hold the store that the argument names."""
    broker = Desk(SqliteBroker(sys.argv[1]))
    order = broker.open("lobby", Room())
    for line in sys.stdin:
        broker.publish("lobby", [Entry(Author("s", "ana", "key"), "x" * 50, b"", "")] * int(line))
        broker.wait()
        sys.stdout.write(f"{order.epoch} {order.head} {order.oldest}\n")
        sys.stdout.flush()
    broker.close()


if __name__ == "__main__":
    main()
