"""What was told of an order, against what a log that is read again says of it."""

from __future__ import annotations

from enum import Enum, auto

from bcast_grpc.broker.nats.log.chain import Chain, Fit
from bcast_grpc.broker.nats.log.record import Record

_MAX_LEFT = 64


class Verdict(Enum):
    """What becomes of a record that was read."""

    KNOWN = auto()
    """It was told before, or belongs to an order that was left, or nobody can say yet."""

    GOES_ON = auto()
    """It comes after what was told."""

    JUMPS = auto()
    """It comes after what was told, in the same epoch, but what is between has expired from the log."""

    BEGINS = auto()
    """It begins an epoch that was not told of."""


class Past:
    """Remembers the last place that was told while the log is read again, and looks for the very record of it.

    Nothing is told before it has been found. If it is not there, what was told has been lost.
    """

    __slots__ = ("_epoch", "_holder", "_left", "_seq")

    def __init__(self) -> None:
        self._epoch = self._holder = ""
        self._seq = 0
        self._left: tuple[str, ...] = ()

    @property
    def sought(self) -> bool:
        """Whether the last place is still looked for."""
        return bool(self._epoch)

    def seek(self, chain: Chain) -> None:
        """Look for the place where ``chain`` is, unless an earlier one is still looked for."""
        if not self._epoch:
            self._epoch, self._seq, self._holder = chain.epoch, chain.head, chain.holder

    def leave(self, epoch: str = "") -> None:
        """Note that another epoch goes on after ``epoch``, or after the one that is looked for. It never comes back."""
        left = epoch or self._epoch
        if left:
            self._left = (*self._left, left)[-_MAX_LEFT:]
        if left == self._epoch:
            self._epoch = ""

    def is_over(self, epoch: str) -> bool:
        """Whether messages of this epoch were told that its log does not have, or another one was told after it."""
        return epoch == self._epoch or epoch in self._left

    def judge(self, record: Record, fit: Fit, chain: Chain) -> Verdict:
        """Say what becomes of a record that ``chain`` has just taken."""
        if record.epoch in self._left:
            return Verdict.KNOWN
        if not self._epoch:
            return Verdict.GOES_ON if fit is Fit.FOLLOWS else Verdict.BEGINS
        if record.epoch != self._epoch or chain.head < self._seq:
            return Verdict.KNOWN
        if chain.head == self._seq:
            if not self._holder or chain.holder in ("", self._holder):
                self._epoch = ""
            return Verdict.KNOWN
        if fit is not Fit.ANCHORS or record.first <= self._seq:
            return Verdict.KNOWN
        gone = record.first > self._seq + 1
        self._epoch = ""
        return Verdict.JUMPS if gone else Verdict.GOES_ON
