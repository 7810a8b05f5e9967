"""One run of a server in a cluster."""

from __future__ import annotations

from itertools import count


class Incarnation:
    """One run of a server, and the ids that it gives. Shared by all its rooms.

    Attributes:
        name: unique in the cluster: another one after each start. Letters and digits only.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._counter = count(1)

    def next_id(self) -> str:
        """Return an id that is unique in the cluster."""
        return f"{self.name}-{next(self._counter):x}"
