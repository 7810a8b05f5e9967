"""What has happened since the start, for those who watch the server."""

from __future__ import annotations


class Counts:
    """Numbers that only the event loop changes.

    Attributes:
        joined: how many clients have come into a room.
        messages: how many messages clients and applications have handed in, whatever became of them.
        presenting: how many clients have to present a token and have not done so yet.
    """

    __slots__ = ("joined", "messages", "presenting")

    def __init__(self) -> None:
        self.joined = self.messages = self.presenting = 0
