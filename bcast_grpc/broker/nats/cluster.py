"""Which log several servers share."""

from __future__ import annotations

from dataclasses import dataclass

from bcast_grpc.broker.nats.connection.target import Target

RECORD_RESERVE_BYTES = 16 * 1024
"""What a record of one message takes beside text and data: names, ids, and room to spare."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which log is used, and how.

    Attributes:
        target: where NATS is.
        name: of the cluster: servers with the same name share their rooms.
        replicas: how many NATS servers hold the log.
        create: whether the stream may be made here.
        update: whether its limits may be changed here.
        patience_s: how long messages wait to be in the log, and rooms to be opened.
        message_bytes: the largest message.
        port: where clients of this server come in, for people; 0 if that is not known.
    """

    target: Target
    name: str = "bcast"
    replicas: int = 1
    create: bool = True
    update: bool = False
    patience_s: float = 15.0
    message_bytes: int = 65536
    port: int = 0

    @property
    def least_bytes(self) -> int:
        """The size of a record that NATS must take at least."""
        return self.message_bytes + RECORD_RESERVE_BYTES
