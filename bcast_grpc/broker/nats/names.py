"""The names of a cluster's stream and subjects."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a cluster's stream and subjects.

    Attributes:
        cluster: letters, digits, ``-`` and ``_``.
    """

    cluster: str

    @property
    def stream(self) -> str:
        """The stream."""
        return f"BCAST_{self.cluster}"

    def log(self, room: str) -> str:
        """The subject of a room's records."""
        return f"bcast.{self.cluster}.log.{token(room)}"

    @property
    def log_of_all(self) -> str:
        """The subject of the records of all rooms."""
        return f"bcast.{self.cluster}.log.*"

    def live(self, room: str) -> str:
        """The subject on which the stream publishes a room's records again."""
        return f"bcast.{self.cluster}.live.{token(room)}"

    def forwards(self, incarnation: str, room: str = "") -> str:
        """The subject of messages that another server asks this one to take along; without a room, of all rooms."""
        return f"bcast.{self.cluster}.fwd.{incarnation}.{token(room) if room else '*'}"

    def peers(self, incarnation: str = "") -> str:
        """The subject of what servers say to each other: to all of them, or to one."""
        return f"bcast.{self.cluster}.peers.{incarnation}" if incarnation else f"bcast.{self.cluster}.peers"


def token(room: str) -> str:
    """Return a room's name as one token of a subject."""
    return urlsafe_b64encode(room.encode()).rstrip(b"=").decode()
