"""The bounds and times of a room's log."""

from __future__ import annotations

from dataclasses import dataclass

RECORD_BYTES = 256 * 1024


@dataclass(slots=True)
class Limits:
    """The bounds and times of the rooms' logs. All share one object, as what NATS takes may change.

    Attributes:
        largest_bytes: the largest record that NATS takes.
        record_bytes: most bytes of a record; a single larger message gets a record of its own.
        record_items: most messages of a record.
        pending_items: how many unanswered messages make the log ``full``.
        pending_bytes: how many bytes of unanswered messages make it ``full``.
        tail_records: how many records are remembered by their ids.
        tail_items: how many messages of these are remembered by their ids.
        ahead_records: how many live records are held until those before them have been read.
        ahead_bytes: how many bytes of these are held.
        patience_s: after this time unanswered messages are refused with ``BROKER_UNAVAILABLE``.
        forward_s: how long a server is taken for the room's writer, and how long it is given to take messages along.
        answer_s: after this time a request counts as lost.
        behind_s: how long the live feed may take before another server's head is believed.
        claims_s: how long appends wait, after each connect, for what other servers have told; 0: they do not ask.
        history_items: how many of the last messages a server wants that opens the room.
        ids_s: for how long ids count: all of that time are wanted as well.
        anchor_s: at this age of the last record an empty one is appended, before the log expires.
    """

    largest_bytes: int = 1020 * 1024
    record_bytes: int = RECORD_BYTES
    record_items: int = 1000
    pending_items: int = 16_384
    pending_bytes: int = 16 * 1024 * 1024
    tail_records: int = 256
    tail_items: int = 8192
    ahead_records: int = 64
    ahead_bytes: int = 1024 * 1024
    patience_s: float = 15.0
    forward_s: float = 0.3
    answer_s: float = 2.0
    behind_s: float = 0.3
    history_items: int = 1000
    ids_s: float = 120.0
    anchor_s: float = 1800.0
    claims_s: float = 1.0

    def fit(self, largest_bytes: int, reserve_bytes: int) -> None:
        """Make records no larger than NATS takes.

        Args:
            largest_bytes: the largest that it takes.
            reserve_bytes: what a record may take beside text and data.
        """
        self.largest_bytes = largest_bytes
        self.record_bytes = min(RECORD_BYTES, largest_bytes - reserve_bytes)
