"""How far we have come in a room's order. No I/O."""

from __future__ import annotations

from collections import deque

from bcast_grpc.events import Ack, Gap, GapReason, ResumePoint

_MAX_OWN = 65_536


class Cursor:
    """Where to resume, and which messages were received before.

    The server does not echo our own messages, so the cursor also advances when the ``ACK`` of one arrives and
    everything before it has been received. Otherwise a room in which only we speak would seem to have a large gap.
    With ``echo`` our own messages arrive like all others.

    Args:
        history: how many earlier messages were asked for.
        echo: whether we receive our own messages.
    """

    def __init__(self, *, history: int, echo: bool) -> None:
        self._history = history
        self._echo = echo
        self._epoch = ""
        self._seq = 0  # of the last message received
        self._passed: int | None = None  # no message up to here will come any more
        self._own: deque[int] = deque(maxlen=_MAX_OWN)

    @property
    def resume_point(self) -> ResumePoint | None:
        """Where to resume; ``None`` before the server has said anything."""
        if self._passed is None and not self._seq:
            return None
        here = max(self._seq, self._passed or 0)
        while self._own and self._own[0] <= here + 1:
            here = max(here, self._own.popleft())
        self._passed = here
        return ResumePoint(self._epoch, here)

    def begin(self, epoch: str) -> None:
        """Begin a call. In a new epoch everything that is kept is going to be received."""
        if epoch != self._epoch:
            if self._epoch:
                self._restart()
            self._epoch = epoch

    def take(self, seq: int) -> bool:
        """Advance to a message.

        Returns:
            False if it was received before.
        """
        if seq <= self._seq:
            return False
        self._seq = seq
        return True

    def welcome(self, head: int) -> None:
        """Note the head of the order: if nothing was received before, the cursor begins there."""
        if self._passed is None:
            self._passed = max(0, head - self._history)

    def own(self, ack: Ack) -> None:
        """Note the seq of a message of our own."""
        if ack.seq and ack.epoch == self._epoch and not self._echo:
            self._own.append(ack.seq)
            if len(self._own) == _MAX_OWN:
                _ = self.resume_point  # forgets those that the cursor has passed

    def gap(self, gap: Gap) -> None:
        """Skip messages that will not come."""
        if gap.reason is GapReason.NEW_EPOCH:
            self._restart()
        self._passed = max(self._passed or 0, gap.last_missed)

    def _restart(self) -> None:
        self._seq, self._passed = 0, 0
        self._own.clear()
