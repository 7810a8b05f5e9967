"""Whether the server has room for one more client."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Protocol

from bcast_grpc.broker.budget import Budget
from bcast_grpc.core.held import distinct_bytes, distinct_replay_bytes
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.peers import PeerCounts
from bcast_grpc.errors import CallError, ErrorCode

if TYPE_CHECKING:
    from bcast_grpc.core.member import Member
    from bcast_grpc.core.room import Room

logger = logging.getLogger(__name__)

_RETRY_AFTER_S = 5.0

_ASKING_TIMES, _BESIDES = 4, 100
"""How many calls of an address may wait to be let in, for each client that it may have, and besides: some publish."""

_ASKING_BYTES = 8192
"""So much of ``max-memory`` there has to be for each call that waits; it takes a third of that."""

_REFUSING_S = 10.0
"""So long new clients are refused for want of memory before the largest queues make room for them: most queues of a
burst have been read by then, and one that is never read keeps nobody out."""

_LARGE_BYTES = 16 * 1024
"""A client with a smaller queue is not disconnected when memory is short."""


class Memory(Protocol):
    """Measures how much memory the process takes; as a text it says that."""

    def left(self, wanted: int = 0) -> int | None:
        """Return how many bytes the process may still take; None if nobody knows.

        If fewer than ``wanted`` are left, it may spend some time on getting more.
        """
        ...


class _Unmeasured(Memory):
    def left(self, wanted: int = 0) -> int | None:
        return None


class Capacity:
    """The bounds beyond which new clients are refused: clients, open files, and memory.

    Attributes:
        peers: how many clients each address has.
        asking: how many calls of each address wait to be let in.
        budget: how much memory the queues and the broker may take.
        memory: measures what the whole process takes.
        why_full: called with the number of clients; returns why the system can serve no more of them, or nothing.
    """

    def __init__(self, limits: Limits, budget: Budget, time: Callable[[], float]) -> None:
        most = limits.max_clients_per_peer
        self.peers = PeerCounts(most, spares_loopback=limits.spares_loopback)
        self.asking = PeerCounts(_ASKING_TIMES * most + _BESIDES if most else 0, spares_loopback=limits.spares_loopback)
        self.budget = budget
        self.memory: Memory = _Unmeasured()
        self.why_full: Callable[[int], str] = lambda _: ""
        self._max_asking = max(1000, budget.max_bytes // _ASKING_BYTES)
        self._max_clients = limits.max_clients
        self._time = time
        self._refusing_since: float | None = None  # for want of memory
        self._refused_at = 0.0

    @property
    def calls_waiting(self) -> int:
        """How many calls wait to be let in, at doors that count them."""
        return self.asking.total

    def check_clients(self, clients: int) -> None:
        """Check that another client may come in.

        Raises:
            CallError: ``SERVER_FULL``.
        """
        if clients >= self._max_clients:
            raise _server_full(f"{clients} clients are connected, which is the limit (max-clients); try again later")
        if reason := self.why_full(clients):
            raise _server_full(reason)

    def check_peer(self, member: Member, replaced: Member | None) -> None:
        """Check that another client may come in from its address, unless it replaces one from the same address.

        Raises:
            CallError: ``SERVER_FULL``.
        """
        if replaced and replaced.network == member.network:
            return
        if self.peers.full(member.network):
            raise _server_full(
                f"{self.peers.most} clients are connected from your address, which is the limit for one address"
                " (max-clients-per-peer); try again later"
            )

    def begin_asking(self, network: str) -> None:
        """Count a call that waits to be let in, until ``end_asking``. Doors on which calls are cheap do this first.

        Raises:
            CallError: ``SERVER_FULL``: too many calls of its address wait already; or too many in all, and its address
                has more than its part of them.
        """
        if self.asking.has_part(network, self._max_asking) or self.asking.full(network):
            count = self.asking.count(network)
            raise _server_full(f"{count} calls from your address wait to be let in, the limit; try again later")
        self.asking.add(network)

    def end_asking(self, network: str) -> None:
        """Stop counting a call: it was let in, or has ended."""
        self.asking.remove(network)

    def came(self, member: Member) -> None:
        """Count a client that has come in."""
        if member.network:
            self.peers.add(member.network)

    def left(self, member: Member) -> None:
        """Stop counting a client, which has left."""
        if member.network:
            self.peers.remove(member.network)

    def check_memory(self) -> None:
        """Check that there is memory for another client, or would be if all histories were dropped.

        Raises:
            CallError: ``SERVER_FULL``.
        """
        if not self.budget.full:
            return
        self._refused_at = self._time()
        if self._refusing_since is None:
            self._refusing_since = self._refused_at
            logger.warning("memory is full, so new clients are refused: %s", self.budget)
        raise _server_full(f"the server's memory is full ({self.budget}); try again later")

    def count(self, rooms: Collection[Room]) -> None:
        """Count the bytes that are queued for clients, and measure what the process takes.

        Cost: O(clients), and O(frames) if memory is short.
        """
        budget = self.budget
        members = [member for room in rooms for member in room.members.values()]
        kept = sum(room.feed.kept_bytes for room in rooms)
        budget.queues = kept + sum(member.held_bytes for member in members)
        self._fit()
        if budget.excess > 0:  # that was an upper bound, which counts shared frames for each client
            replays = distinct_replay_bytes(member.replay for member in members if member.replay)
            budget.queues = kept + replays + distinct_bytes(member.outbox for member in members)
            self._fit()
        if budget.excess > 0 and kept:  # one that stops in the middle of a history would hold that for ever
            for room in rooms:
                room.feed.drop_kept()
            budget.queues -= kept
            self._fit()

    def _fit(self) -> None:
        left = self.memory.left(self.budget.least_left)
        if left is not None:
            self.budget.fit(left, self.memory)

    def end_slowest(self, rooms: Collection[Room]) -> None:
        """Disconnect the clients with the largest queues if memory is exceeded, or new clients were refused for long.

        Queues share what was sent to a whole room, so one look may not be enough; the next one counts again.
        Cost: O(n log n), where memory is full.
        """
        if self.budget.used <= self.budget.bound and not self._refuses_for_long:
            return
        excess = self.budget.used - self.budget.goal
        members = [member for room in rooms for member in room.members.values() if not member.outbox.discarded]
        for member in sorted(members, key=lambda member: member.held_bytes, reverse=True):
            size = member.held_bytes
            if excess <= 0 or size < _LARGE_BYTES:
                return
            excess -= size
            member.disconnect(f"the server's memory is full, and {size} bytes were queued for it ({self.budget})")

    @property
    def _refuses_for_long(self) -> bool:
        since = self._refusing_since
        return since is not None and self._time() - since >= _REFUSING_S

    def relieved(self) -> None:
        """Note that histories have been dropped if memory was short."""
        is_quiet = not self.budget.full and self._time() - self._refused_at >= _REFUSING_S
        if self.budget.eased or is_quiet:  # else it may be full every other second
            self._refusing_since = None


def _server_full(reason: str) -> CallError:
    return CallError(ErrorCode.SERVER_FULL, reason, retry_after_s=_RETRY_AFTER_S)
