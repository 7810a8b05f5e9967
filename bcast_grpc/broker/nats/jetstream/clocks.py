"""Compares this machine's clock with that of NATS: by the servers' clocks it is told how old a message is."""

from __future__ import annotations

import logging
from datetime import datetime

logger = logging.getLogger(__name__)

_MOST_S = 5
_AGREES_S = 2


class Clocks:
    """Tells once that the clocks differ, and once that they agree again."""

    def __init__(self) -> None:
        self._differ = False

    def compare(self, asked_s: float, time: str, answered_s: float) -> None:
        """Look at the time that NATS has told between two moments here."""
        there_s = datetime.fromisoformat(time).timestamp()
        ahead_s = max(0.0, asked_s - there_s) or min(0.0, answered_s - there_s)
        if (abs(ahead_s) > (_AGREES_S if self._differ else _MOST_S)) is self._differ:
            return
        self._differ = not self._differ
        if self._differ:
            logger.warning(
                "this machine's clock is %.0f s %s NATS's: until both are right, messages and ids may be kept too long"
                " or dropped too early (NTP)",
                abs(ahead_s),
                "ahead of" if ahead_s > 0 else "behind",
            )
        else:
            logger.info("this machine's clock and NATS's agree again")
