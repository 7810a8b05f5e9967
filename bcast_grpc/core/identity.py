"""Who a client has proven to be, and what it may do in each room."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Rights:
    """What a client may do in one room.

    Attributes:
        join: be in the room, and receive new messages.
        send: broadcast and ``Publish``.
        history: ask for earlier messages, and resume.
        who: ask who is in the room, and get ``JOINED`` and ``LEFT``.
    """

    join: bool = False
    send: bool = False
    history: bool = False
    who: bool = False


ALL_RIGHTS = Rights(**{right.name: True for right in fields(Rights)})
NO_RIGHTS = Rights()

Grants: TypeAlias = Callable[[str], Rights]
"""Returns what a client may now do in the room of that name; a reload may change the result."""


def grant_all(_: str) -> Rights:
    """Grant everything in every room."""
    return ALL_RIGHTS


@dataclass(frozen=True, slots=True)
class Caller:
    """What a door knows about a client that calls.

    Attributes:
        peer: the address of its end of the connection, as ``HOST:PORT``.
        token: the token that it presented, if any.
        certificate: the name in the certificate that it presented, if any.
    """

    peer: str = ""
    token: str = field(default="", repr=False)  # a log of callers is not to hold any
    certificate: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a client is.

    Attributes:
        subject: its name for the server; empty if it is anonymous.
        name: the only name that its token allows; empty if it may choose one.
        grants: what it may do.
        expires_at: when its token expires, in seconds on the scheduler's clock; None if it never does.
        token_helps: whether a token might grant it more.
    """

    subject: str = ""
    name: str = ""
    grants: Grants = grant_all
    expires_at: float | None = None
    token_helps: bool = False


Identifying: TypeAlias = Callable[[], Coroutine[Any, Any, Identity]]
"""Finds out who calls, or raises what ``Gatekeeper.identify`` raises."""


class Gatekeeper(Protocol):
    """Decides who a client is."""

    def identify(self, caller: Caller) -> Identity | Identifying:
        """Return who calls, or a function that finds out if that takes waiting.

        Raises:
            CallError: ``UNAUTHENTICATED`` or ``TOKEN_EXPIRED``: the token that it presented is not valid.
        """
        ...


class OpenGate:
    """The ``Gatekeeper`` of a server that lets everyone do everything, and ignores tokens."""

    def identify(self, caller: Caller) -> Identity:
        """Return an anonymous identity with all rights."""
        return ANYONE


ANYONE = Identity()
