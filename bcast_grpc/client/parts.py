"""Answers that come in several events: long lists of members."""

from __future__ import annotations

from bcast_grpc.events import Event, Member, Members


class Parts:
    """Joins the parts of each answer, by the id of its request."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Member]] = {}

    def join(self, event: Event, part: Members) -> Event | None:
        """Keep a part; with the last one, return the whole answer."""
        if part.more:
            self._parts.setdefault(event.id, []).extend(part.members)
            return None
        before = self._parts.pop(event.id, None)
        return event._replace(detail=Members((*before, *part.members))) if before else event

    def clear(self) -> None:
        """Forget the parts of unfinished answers, which will be sent again."""
        self._parts.clear()
