"""What NATS does not let this account do."""

from __future__ import annotations

import logging
import re

from bcast_grpc.broker.base import CannotOpen

logger = logging.getLogger(__name__)

_DENIED = "permissions violation"
_ONE_ROOM = re.compile(r"(bcast\.[\w-]+\.\w+\.)[^\s\"]+")
_MOST = 20


class Denials:
    """What NATS refused on this connection. NATS says it behind each attempt, and the log has it once.

    Attributes:
        last: in the words of NATS, with ``*`` for rooms; empty if there was nothing.
    """

    def __init__(self) -> None:
        self.last = ""
        self._told: set[str] = set()

    def note(self, error: str, *, log: bool) -> bool:
        """Take an error. Whether it is one of these."""
        if _DENIED not in error:
            return False
        self.last = what = _ONE_ROOM.sub(r"\1*", error.removeprefix("nats: "))
        if log and what not in self._told and len(self._told) < _MOST:
            self._told.add(what)
            logger.warning("%s", self.words)
        return True

    @property
    def words(self) -> str:
        """For people; empty if there was nothing."""
        return f"NATS does not let this account do what is needed: {self.last}" if self.last else ""

    def check(self) -> None:
        """See whether everything was allowed so far.

        Raises:
            CannotOpen: it was not.
        """
        if self.last:
            raise CannotOpen(self.words)
