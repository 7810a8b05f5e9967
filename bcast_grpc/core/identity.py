"""Who a client is, as far as it has shown that, and what it may do in each room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Rights:
    """What a client may do in one room.

    Attributes:
        join: be in the room, and hear what is said from now on.
        send: broadcast and ``Publish``.
        history: ask for earlier messages, and resume.
        who: ask who is here, and hear who comes and goes.
    """

    join: bool = False
    send: bool = False
    history: bool = False
    who: bool = False


ALL_RIGHTS = Rights(join=True, send=True, history=True, who=True)
NO_RIGHTS = Rights()

Grants: TypeAlias = Callable[[str], Rights]
"""Returns what a client may do in the room of that name, now: a reload may change it."""


def grant_all(_: str) -> Rights:
    """Grant everything in every room."""
    return ALL_RIGHTS


@dataclass(frozen=True, slots=True)
class Caller:
    """What a door knows of a client that calls.

    Attributes:
        peer: the address of its end of the connection, as ``HOST:PORT``.
        token: what it presented; empty: nothing.
        certificate: the name in its certificate; empty: it showed none.
    """

    peer: str = ""
    token: str = ""
    certificate: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a client is.

    Attributes:
        subject: its name for the server; empty: it is anonymous.
        name: the name that others see, where its token says so; empty: it chooses.
        grants: what it may do.
        expires_at: when it has to have shown a new token, in seconds on the scheduler's clock; None: never.
        token_helps: whether it could be granted more if it presented a token.
    """

    subject: str = ""
    name: str = ""
    grants: Grants = grant_all
    expires_at: float | None = None
    token_helps: bool = False


class Gatekeeper(Protocol):
    """Says who a client is."""

    async def identify(self, caller: Caller) -> Identity:
        """Return who calls.

        Raises:
            CallError: ``UNAUTHENTICATED`` or ``TOKEN_EXPIRED``: what it presented does not hold.
        """
        ...


class OpenGate:
    """The ``Gatekeeper`` of a server that takes anyone for what they say, and ignores tokens."""

    async def identify(self, caller: Caller) -> Identity:
        """Return somebody who may do everything."""
        return ANYONE


ANYONE = Identity()
