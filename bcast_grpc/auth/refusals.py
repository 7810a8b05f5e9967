"""Addresses that keep presenting wrong tokens are banned for a while: their tokens are refused unread."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

MOST = 10
WITHIN_S = 60.0
FOR_S = 60.0
MAX_NETWORKS = 65_536
"""How many networks are remembered; beyond that, those that were refused longest ago are forgotten."""


class Refusals:
    """Counts refused tokens by the network that they came from.

    Args:
        time: returns seconds on a clock that never goes back.
    """

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._refused: OrderedDict[str, tuple[float, ...]] = OrderedDict()  # a deque would take ten times as much
        self._banned: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, network: str) -> float:
        """Return how many seconds a network is still banned; 0 if it is not."""
        until = self._banned.get(network)
        if until is None:
            return 0.0
        left = until - self._time()
        if left <= 0:
            del self._banned[network]
        return max(0.0, left)

    def add(self, network: str) -> bool:
        """Count a refused token; return whether it bans the network."""
        now = self._time()
        times = (*self._refused.pop(network, ())[-MOST + 1 :], now)
        self._refused[network] = times  # the last one now
        if len(self._refused) > MAX_NETWORKS:
            self._refused.popitem(last=False)
        if len(times) < MOST or now - times[0] > WITHIN_S:
            return False
        del self._refused[network]
        self._banned[network] = now + FOR_S
        if len(self._banned) > MAX_NETWORKS:
            self._banned.popitem(last=False)
        return True
