"""The bounds and times of a room's log."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds and times of a room's log.

    Attributes:
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
        anchor_s: at this age of the last record an empty one is appended, before the log expires.
    """

    record_bytes: int = 256 * 1024
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
    anchor_s: float = 1800.0
