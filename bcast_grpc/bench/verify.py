"""Checks that a client receives each sender's messages once and in order, and never its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

from bcast_grpc.bench.summary import Span, Summary


@dataclass(slots=True)
class Faults:
    """How many deliveries broke a promise.

    Attributes:
        lost: did not arrive.
        repeated: arrived again.
        out_of_order: arrived after a later one of the same sender.
        own: came back to their author.
        foreign: belong to another room, or not to this run.
    """

    lost: int = 0
    repeated: int = 0
    out_of_order: int = 0
    own: int = 0
    foreign: int = 0

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))

    def __str__(self) -> str:
        counts = ((getattr(self, field.name), field.name.replace("_", " ")) for field in fields(self))
        return ", ".join(f"{count:,} {name}" for count, name in counts if count) or "none"

    def add(self, other: Faults) -> None:
        """Add the faults of another client."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


class Due(NamedTuple):
    """What each other client of a sender's room must receive: ``sent`` messages, except ``refused`` of them."""

    sent: int
    refused: int = 0


class Checker:
    """Verifies what one client receives.

    Args:
        client: its number, which is its number as a sender too.
        senders: the numbers of all senders in its room.

    Attributes:
        faults: what was wrong; ``missing()`` says what was lost.
    """

    __slots__ = ("_client", "_gaps", "_next", "faults")

    def __init__(self, client: int, senders: Iterable[int]) -> None:
        self._client = client
        self._next = {sender: 0 for sender in senders if sender != client}
        self._gaps: dict[int, list[range]] = {}
        self.faults = Faults()

    def take(self, summary: Summary) -> None:
        """Verify a frame. Cost: O(senders in it), if all is well."""
        following = self._next
        for span in summary.spans:
            sender, first, stop = span
            if following.get(sender) == first:
                following[sender] = stop
            else:
                self._take_unexpected(span)
        self.faults.foreign += summary.foreign

    def missing(self, due: Mapping[int, Due]) -> dict[int, int]:
        """How many messages of each sender have not arrived; ``due`` may contain senders of other rooms."""
        found = {}
        for sender, following in self._next.items():
            sent, refused = due[sender]
            # An unacknowledged message may have arrived or not.
            gaps = sum(len(range(gap.start, min(gap.stop, sent))) for gap in self._gaps.get(sender, ()))
            lost = gaps + max(sent - following, 0) - refused
            if lost > 0:
                found[sender] = lost
        return found

    def _take_unexpected(self, span: Span) -> None:
        sender, first, stop = span
        if sender == self._client:
            self.faults.own += stop - first
            return
        following = self._next.get(sender)
        if following is None:
            self.faults.foreign += stop - first
            return
        if first > following:
            self._gaps.setdefault(sender, []).append(range(following, first))
        elif again := range(first, min(stop, following)):
            late = self._fill(sender, again)
            self.faults.out_of_order += late
            self.faults.repeated += len(again) - late
        self._next[sender] = max(following, stop)

    def _fill(self, sender: int, again: range) -> int:
        """Remove from the gaps what arrived after all, and return how many messages that is."""
        filled, left = 0, []
        for gap in self._gaps.get(sender, ()):
            before = range(gap.start, min(gap.stop, again.start))
            after = range(max(gap.start, again.stop), gap.stop)
            left += [part for part in (before, after) if part]
            filled += len(gap) - len(before) - len(after)
        self._gaps[sender] = left
        return filled
