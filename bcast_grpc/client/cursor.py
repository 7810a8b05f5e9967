"""How far one has come in a room's order. No I/O."""

from __future__ import annotations

from collections import deque

from bcast_grpc.events import Ack, Gap, GapReason, Position

_MAX_OWN = 65_536


class Cursor:
    """The place to go on from, and what is left out because it came before.

    One's own messages are passed too, by their acknowledgements, once all before them has come: else a room in which
    nobody else speaks would seem to have much that was missed. Not where they are heard as well (``echo``).

    Args:
        history: how many messages from before may come at first.
        echo: whether one hears one's own messages.
    """

    def __init__(self, *, history: int, echo: bool) -> None:
        self._history = history
        self._echo = echo
        self._epoch = ""
        self._seq = 0  # of the last message that came
        self._passed: int | None = None  # nothing up to here is to come any more
        self._own: deque[int] = deque(maxlen=_MAX_OWN)

    @property
    def position(self) -> Position | None:
        """What to go on after; none before the first word of the server."""
        if self._passed is None and not self._seq:
            return None
        here = max(self._seq, self._passed or 0)
        while self._own and self._own[0] <= here + 1:
            here = max(here, self._own.popleft())
        self._passed = here
        return Position(self._epoch, here)

    def begin(self, epoch: str) -> None:
        """Begin with a connection: the order of before, or a new one, of which all that is kept is going to come."""
        if epoch != self._epoch:
            if self._epoch:
                self._restart()
            self._epoch = epoch

    def take(self, seq: int) -> bool:
        """Pass a message.

        Returns:
            False if it came before.
        """
        if seq <= self._seq:
            return False
        self._seq = seq
        return True

    def welcome(self, head: int) -> None:
        """Hear how long the order is: where nothing came before, this is where one begins."""
        if self._passed is None:
            self._passed = max(0, head - self._history)

    def own(self, ack: Ack) -> None:
        """Hear of the place of a message of one's own."""
        if ack.seq and ack.epoch == self._epoch and not self._echo:
            self._own.append(ack.seq)
            if len(self._own) == _MAX_OWN:
                _ = self.position  # let go of those that are passed

    def gap(self, gap: Gap) -> None:
        """Hear that some will not come."""
        if gap.reason is GapReason.NEW_EPOCH:
            self._restart()
        self._passed = max(self._passed or 0, gap.last_missed)

    def _restart(self) -> None:
        self._seq, self._passed = 0, 0
        self._own.clear()
