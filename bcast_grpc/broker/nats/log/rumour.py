"""Where another server says that the log is. The live feed gets some time before that counts."""

from __future__ import annotations

from bcast_grpc.broker.nats.log.chain import Chain


class Rumour:
    """The head of another server that differs from this one's, if there is one.

    Attributes:
        due_ns: when to look at it; None if there is none.
    """

    __slots__ = ("_id", "_sequence", "due_ns")

    def __init__(self) -> None:
        self.due_ns: int | None = None
        self._sequence = 0
        self._id = ""

    def hear(self, sequence: int, id_: str, chain: Chain, due_ns: int) -> None:
        """Note a head that differs, unless an earlier one is waiting."""
        if self.due_ns is None and _differs(sequence, id_, chain):
            self.due_ns, self._sequence, self._id = due_ns, sequence, id_

    def holds(self, chain: Chain, now_ns: int) -> bool:
        """Whether it is due and still differs. It is forgotten when it is due."""
        if self.due_ns is None or now_ns < self.due_ns:
            return False
        self.due_ns = None
        return _differs(self._sequence, self._id, chain)

    def forget(self) -> None:
        """Drop it."""
        self.due_ns = None


def _differs(sequence: int, id_: str, chain: Chain) -> bool:
    return sequence > chain.sequence or chain.id_at(sequence) not in ("", id_)
