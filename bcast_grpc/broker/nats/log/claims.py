"""What other servers have told of a room, which its log must have."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from bcast_grpc.broker.nats.log.chain import Chain

_MOST = 8
_NONE: Mapping[str, int] = MappingProxyType({})  # mostly there are none, and a dict for each room takes 64 bytes


class Claims:
    """The last places that other servers told, by their epochs. Before they are known, nothing is appended.

    A log that was set back looks whole to a server that had not read the end that it lost. If that server went on in
    the same epoch, it would give places again that others have told.

    Attributes:
        due_ns: until when appends wait for the others at most; None if they need not wait.
        doubted: whether the leader has been asked for the end since the last claim that the log does not have.
    """

    __slots__ = ("_heads", "doubted", "due_ns")

    def __init__(self) -> None:
        self.due_ns: int | None = None
        self.doubted = False
        self._heads = _NONE

    def expect(self, due_ns: int) -> None:
        """Wait for the others' claims; earlier ones are forgotten."""
        self.due_ns = due_ns
        self.clear()

    def clear(self) -> None:
        """Forget all: the log has them."""
        self._heads = _NONE

    def hear(self, epoch: str, seq: int, chain: Chain) -> bool:
        """Note a claim. Returns whether the log does not have it, as far as it has been read."""
        if epoch == chain.epoch and seq <= chain.head:
            return False
        if seq > self._heads.get(epoch, 0) and (epoch in self._heads or len(self._heads) < _MOST):
            self._heads = {**self._heads, epoch: seq}
            self.doubted = False
        return self.missing(chain)

    def missing(self, chain: Chain) -> bool:
        """Whether the log ends before what was told of its epoch."""
        return self._heads.get(chain.epoch, 0) > chain.head
