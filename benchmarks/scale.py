"""What many clients need: ``python -m benchmarks.scale`` prints the tables of docs/scale.md.

Computed from measured costs, in a straight line. Only what the costs were measured at is sure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

US, KB, MB = 1e-6, 1e3, 1e6

RECORD_AUTHOR, RECORD_READER, RECORD_NATS = 600 * US, 380 * US, 1030 * US
MESSAGE_AUTHOR, MESSAGE_READER = 12 * US, 6 * US
DELIVERY, IDLE_CLIENT = 10 * US, 2 * US
CLIENT_BYTES, ROOM_BYTES, SERVER_BYTES, NATS_ROOM_BYTES = 27.4 * KB, 9.4 * KB, 80 * MB, 2.1 * KB
RECORD_BYTES, EVENT_BYTES, HEAD_BYTES, HEADS_S = 209, 200, 38, 2
STREAM_RECORDS, ROOM_RECORDS = 4200, 400
COSTS = (
    ("CPU of a record of one message, at the server that appends it", RECORD_AUTHOR / US, "µs"),
    ("the same, at each other server that has the room open", RECORD_READER / US, "µs"),
    ("the same, at three NATS servers in all", RECORD_NATS / US, "µs"),
    ("CPU of each further message in a record, where it is appended", MESSAGE_AUTHOR / US, "µs"),
    ("the same, where it is read", MESSAGE_READER / US, "µs"),
    ("CPU of a delivery that comes alone (with others together down to 0.1)", DELIVERY / US, "µs"),
    ("CPU of an idle client, each second", IDLE_CLIENT / US, "µs"),
    ("memory of a server without clients", SERVER_BYTES / MB, "MB"),
    ("memory of an idle client with TLS", CLIENT_BYTES / KB, "KB"),
    ("memory of a quiet room, at each server that has it open", ROOM_BYTES / KB, "KB"),
    ("memory of a room at each NATS server", NATS_ROOM_BYTES / KB, "KB"),
    ("a message of 64 bytes alone in a record, in the log", RECORD_BYTES, "bytes"),
    ("an event on the network, with all headers", EVENT_BYTES, "bytes"),
    ("the head of a room's log in a beat, each two seconds", HEAD_BYTES, "bytes"),
    ("records a second of one stream, three replicas", STREAM_RECORDS, ""),
    ("records a second of one room", ROOM_RECORDS, ""),
)
"""What was measured, for people."""

CLIENTS_A_SERVER = 20_000
BUSY = 0.6
"""How busy a core may be."""


@dataclass(frozen=True)
class Load:
    """Who talks to whom.

    Attributes:
        members: of a room.
        rate: messages a second in each room.
        gathered: whether a balancer sends a room's clients to as few servers as hold them; else they are anywhere.
    """

    name: str
    members: int
    rate: float
    gathered: bool = False
    clients: int = 1_000_000

    @property
    def rooms(self) -> int:
        """How many there are."""
        return self.clients // self.members

    @property
    def messages(self) -> float:
        """A second, in all rooms."""
        return self.rooms * self.rate

    @property
    def records(self) -> float:
        """A second, in all rooms."""
        return self.rooms * min(self.rate, ROOM_RECORDS)

    @property
    def deliveries(self) -> float:
        """A second."""
        return self.messages * (self.members - 1)

    def servers_of_a_room(self, servers: int) -> float:
        """Return how many servers have it open."""
        if self.gathered:
            return min(servers, math.ceil(self.members / CLIENTS_A_SERVER))
        return servers * (1 - (1 - 1 / servers) ** self.members)

    def cores(self, servers: int) -> tuple[float, float, float]:
        """Return the cores that all servers need for the log, for deliveries, and for idle clients."""
        others = self.servers_of_a_room(servers) - 1
        log = self.records * (RECORD_AUTHOR + others * RECORD_READER)
        log += (self.messages - self.records) * (MESSAGE_AUTHOR + others * MESSAGE_READER)
        return log, self.deliveries * DELIVERY, self.clients * IDLE_CLIENT

    @property
    def servers(self) -> int:
        """How many processes of a core each are needed. With more of them a room is open at more of them, too."""
        servers = math.ceil(self.clients / CLIENTS_A_SERVER)
        while (wanted := math.ceil(sum(self.cores(servers)) / BUSY)) > servers:
            servers = wanted
        return servers


LOADS = (
    Load("rooms of 20, a message a minute from each", 20, 20 / 60),
    Load("the same, gathered", 20, 20 / 60, gathered=True),
    Load("rooms of 1000, 2 messages/s in each", 1000, 2),
    Load("the same, gathered", 1000, 2, gathered=True),
    Load("one room, 2 messages/s", 1_000_000, 2),
)


def costs() -> str:
    """Return what was measured as a table in Markdown."""
    rows = [[what, f"{value:g} {unit}".strip()] for what, value, unit in COSTS]
    return "\n".join(_line(row) for row in (["what", "cost"], ["---"] * 2, *rows))


def needs() -> str:
    """Return what the loads need as a table in Markdown."""
    heads = ["a million clients in", *(load.name for load in LOADS)]
    found = [column(load) for load in LOADS]
    rows = [[name, *(values[name] for values in found)] for name in found[0]]
    return "\n".join(_line(row) for row in (heads, ["---"] * len(heads), *rows))


def column(load: Load) -> dict[str, str]:
    """Return what a load needs."""
    servers = load.servers
    log, deliveries, idle = load.cores(servers)
    open_at = load.servers_of_a_room(servers)
    rooms = load.rooms * open_at / servers
    beats = rooms * HEAD_BYTES * servers / HEADS_S * min(1, load.rate * HEADS_S * 3)
    memory = SERVER_BYTES + load.clients / servers * CLIENT_BYTES + rooms * ROOM_BYTES
    return {
        "messages/s": f"{load.messages:,.0f}",
        "deliveries/s": f"{load.deliveries:,.0f}",
        "servers that have a room open": f"{open_at:.1f}",
        "cores for the log": f"{log:,.0f}",
        "cores for deliveries": f"{deliveries:,.0f}",
        "cores for idle clients": f"{idle:,.0f}",
        "**servers**, a core each": f"**{servers:,}**",
        "memory of a server": f"{memory / MB:,.0f} MB",
        "heads of others that a server hears": f"{beats / MB:,.1f} MB/s",
        "out of all servers": f"{load.deliveries * EVENT_BYTES * 8 / 1e9:,.1f} Gbit/s",
        "records/s": f"{load.records:,.0f}",
        "streams that they fill": f"{math.ceil(load.records / (STREAM_RECORDS * BUSY)):,}",
        "**NATS's cores**, three replicas": f"**{load.records * RECORD_NATS / BUSY:,.0f}**",
        "memory of NATS's rooms": f"{load.rooms * NATS_ROOM_BYTES / MB:,.0f} MB",
        "an hour of the log, three replicas": f"{load.records * RECORD_BYTES * 3600 * 3 / 1e9:,.1f} GB",
    }


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(costs(), needs(), sep="\n\n")
