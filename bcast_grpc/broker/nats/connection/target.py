"""Where NATS is, and how to log in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Target:
    """Where NATS is, and how to log in.

    Attributes:
        servers: ``nats://HOST:PORT`` or ``tls://HOST:PORT``, without credentials.
        login: further arguments of nats-py's ``connect``.
        demands_tls: whether a server without TLS is refused.
        patience_s: how long the first connection may take.
        least_bytes: a server whose ``max_payload`` is smaller is refused.
    """

    servers: Sequence[str]
    login: Mapping[str, Any] = field(default_factory=dict, repr=False)
    demands_tls: bool = False
    patience_s: float = 5.0
    least_bytes: int = 0

    @property
    def shown(self) -> str:
        """The addresses, for people."""
        return ", ".join(server.partition("://")[2] for server in self.servers)
