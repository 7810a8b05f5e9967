"""What has happened since the start, for those who watch the server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import Error, Event, Gap, GapReason

LEFT, LOST = "LEFT", "LOST"
"""How a stream ends without an error: its client said goodbye, or was just gone."""

_CODES = [code for code in ErrorCode if code]
_REASONS = [reason for reason in GapReason if reason]


class Counts:
    """Numbers that only the event loop changes. All that can be counted is there from the start, as 0.

    Attributes:
        joined: how many clients have come into a room.
        ended: how many of their streams have ended, by the name of the error's code, or ``LEFT`` or ``LOST``.
        messages: how many messages clients and applications have handed in, whatever became of them.
        delivered: how many messages and notices were queued for clients, or fed to them, counted for each of them.
        presenting: how many clients have to present a token and have not done so yet.
        errors: how many calls were refused, and requests answered with an error, by the code.
        gaps: how many ``GAP`` clients were told, by the reason.
        missed: how many messages these were about, by the reason; of another epoch nobody knows.
        slow: how often a client was too slow for its queue.
    """

    errors: Counter[ErrorCode]
    gaps: Counter[GapReason]
    missed: Counter[GapReason]

    __slots__ = ("delivered", "ended", "errors", "gaps", "joined", "messages", "missed", "presenting", "slow")

    def __init__(self) -> None:
        self.joined = self.messages = self.delivered = self.presenting = self.slow = 0
        self.errors = Counter(dict.fromkeys(_CODES, 0))
        self.ended = Counter(dict.fromkeys([LEFT, LOST, *(code.name for code in _CODES)], 0))
        self.gaps = Counter(dict.fromkeys(_REASONS, 0))
        self.missed = Counter(dict.fromkeys(_REASONS, 0))
        del self.missed[GapReason.NEW_EPOCH]

    def told(self, events: Sequence[Event]) -> Sequence[Event]:
        """Count the errors and gaps among events for one client alone, and return the events."""
        for event in events:
            detail = event.detail
            if isinstance(detail, Error):
                self.errors[detail.code] += 1
            elif isinstance(detail, Gap):
                self.gaps[detail.reason] += 1
                if detail.reason in self.missed:
                    self.missed[detail.reason] += detail.last_missed - detail.first_missed + 1
        return events
