"""A hub whose gatekeeper asks for tokens."""

from __future__ import annotations

from dataclasses import replace

from bcast_grpc.broker.history import Retention
from bcast_grpc.core.identity import ALL_RIGHTS, NO_RIGHTS, Caller, Identity, Rights
from bcast_grpc.errors import CallError, ErrorCode

from .world import World

KEPT = Retention(messages=100, bytes=100_000, age_s=3600, dedup_s=0)


class Desk:
    """A gatekeeper that knows its tokens by heart. The rights of each may be changed."""

    def __init__(self) -> None:
        self.rights: dict[str, Rights] = {}
        self.identities: dict[str, Identity] = {}

    def know(self, token: str, rights: Rights = ALL_RIGHTS, **identity: object) -> None:
        """Take a token from now on."""
        self.rights[token] = rights
        known = Identity(subject=token, grants=lambda _: self.rights[token])
        self.identities[token] = replace(known, **identity)  # type: ignore[arg-type]

    def identify(self, caller: Caller) -> Identity:
        """Return whose token it is."""
        if not caller.token:
            return Identity(grants=lambda _: self.rights.get("", NO_RIGHTS), token_helps=True)
        if caller.token not in self.identities:
            raise CallError(ErrorCode.UNAUTHENTICATED, "no such token")
        return self.identities[caller.token]


def let_pass(world: World, seconds: float = 0.5) -> None:
    """Let time pass, everyone reading as fast as it is written to."""
    for _ in range(10):
        world.scheduler.advance(seconds / 10)
        for client in world.clients:
            client.write_all()
