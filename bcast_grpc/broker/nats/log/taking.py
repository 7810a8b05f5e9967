"""What the records of a log mean as they are read: which count, which are news, and which ids are in the log."""

from __future__ import annotations

from bcast_grpc.broker.clock import Clock
from bcast_grpc.broker.ids import Ids
from bcast_grpc.broker.nats.log.chain import Chain, Fit
from bcast_grpc.broker.nats.log.known import Known
from bcast_grpc.broker.nats.log.past import Past, Verdict
from bcast_grpc.broker.nats.log.record import Record


class Taking:
    """Takes one record after the other, and knows when all of them must be read again.

    Attributes:
        chain: what was read.
        whole: whether the log is read from its beginning, so that void records are surely void.
        old: whether what is read may have been in the log for some time.
    """

    __slots__ = ("_began", "_known", "_past", "_void_after", "chain", "old", "whole")

    def __init__(self, chain: Chain, ids: Ids, clock: Clock) -> None:
        self.chain = chain
        self.whole = self.old = True
        self._known = Known(ids, clock)
        self._past = Past()
        self._void_after: int | None = None  # where the chain was when a record of a whole reading did not fit
        self._began = 0  # what to read after, to read the last epoch again

    @property
    def seeks(self) -> bool:
        """Whether the last place that was told is still looked for."""
        return self._past.sought

    @property
    def is_over(self) -> bool:
        """Whether the log's epoch cannot go on: it has lost what was told, or another was told after it."""
        return self._past.is_over(self.chain.epoch)

    @property
    def in_doubt(self) -> bool:
        """Whether a record did not fit. It is void, unless some have expired since those before it were read."""
        return self._void_after is not None

    def take(self, sequence: int, record: Record, *, beginning: bool) -> Verdict | None:
        """Take the next record.

        Args:
            sequence: its place in the stream.
            record: the record.
            beginning: whether a new epoch is to begin.

        Returns:
            What becomes of it; None if it does not fit, so that the log must be read from its beginning.
        """
        chain, past = self.chain, self._past
        before, last = chain.epoch, chain.sequence
        fit = chain.take(sequence, record)
        if fit is Fit.VOID:
            if not self.whole:
                return None
            if self._void_after is None and before:
                self._void_after = last
            return Verdict.KNOWN
        if fit is not Fit.FOLLOWS:
            self._began = sequence - 1
            self._known.clear()
        self._known.add(record, old=self.old)
        if fit is Fit.BEGINS and (beginning or not past.sought):
            past.leave("" if past.sought else before)
        return past.judge(record, fit, chain)

    def rewind(self, oldest: int = 0) -> None:
        """Begin again, and look for what was told. Records before ``oldest`` have expired."""
        if self.chain.epoch:
            self._past.seek(self.chain)
        self.chain.rewind(max(oldest - 1, 0))
        self._known.clear()
        self.whole = self.old = True
        self._void_after = None

    def begin_at(self, sequence: int) -> None:
        """Begin at a place. Where a record does not fit, all is read after all."""
        self.chain.rewind(sequence - 1)
        self.whole = False

    def change_epoch(self) -> None:
        """Begin with the log's last epoch, which another server has begun: it is told from its beginning."""
        self._past.leave()
        self.chain.rewind(self._began)
        self.whole = self.old = True

    def interrupt(self) -> None:
        """Trust no more that all was read in one go: the log may have changed meanwhile, and some of it expired."""
        self.whole = not self.chain.sequence
        self._void_after = None
        if not self.whole:
            self.chain.confirm()

    def prove(self, oldest: int) -> bool:
        """End a doubt. Returns whether those that did not fit are void: the log still has what is before them."""
        proved = self._void_after is None or oldest <= self._void_after
        self._void_after = None
        return proved

    def rest(self) -> None:
        """Note that the end was reached: what comes from now on is new."""
        self.whole = self.old = False
