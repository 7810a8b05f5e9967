"""Checks what a client asks for against its rights. All errors for a missing right have their texts here."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from bcast_grpc.core.hello import Hello
from bcast_grpc.core.identity import Identity, Rights
from bcast_grpc.errors import BcastError, CallError, ErrorCode, RequestError
from bcast_grpc.events import Kind

_PRESENCE = frozenset({Kind.JOINED, Kind.LEFT})

E = TypeVar("E", bound=BcastError)


def check_entry(hello: Hello, identity: Identity, rights: Rights, *, publishing: bool) -> Hello:
    """Check that a client may come in, and return its hello without what it has no right to.

    Args:
        hello: what it wants.
        identity: who it is.
        rights: what it may do in the room.
        publishing: whether it wants to send one message without being in the room.

    Raises:
        CallError: ``UNAUTHENTICATED`` where a token might help, otherwise ``PERMISSION_DENIED``.
    """
    if not (rights.send if publishing else rights.join):
        raise _no_entry(identity, "send" if publishing else "join")
    if hello.history and not rights.history:
        raise _denied(CallError, "history", "ask for earlier messages; leave bcast-history out")
    if identity.name and hello.name not in ("", identity.name):
        raise CallError(ErrorCode.PERMISSION_DENIED, _other_name(identity))
    name, kinds = identity.name or hello.name, granted(hello.kinds, rights)
    return hello if (name, kinds) == (hello.name, hello.kinds) else replace(hello, name=name, kinds=kinds)


def granted(kinds: frozenset[Kind], rights: Rights) -> frozenset[Kind]:
    """Return those of the kinds of events that the rights allow."""
    return kinds if rights.who or not kinds & _PRESENCE else kinds - _PRESENCE


def check_send(rights: Rights) -> None:
    """Check that a client may broadcast.

    Raises:
        RequestError: ``PERMISSION_DENIED``.
    """
    if not rights.send:
        raise _denied(RequestError, "send", "send here")


def check_who(rights: Rights) -> None:
    """Check that a client may ask who is here.

    Raises:
        RequestError: ``PERMISSION_DENIED``.
    """
    if not rights.who:
        raise _denied(RequestError, "who", "ask who is here")


def check_name_of(identity: Identity, name: str) -> None:
    """Check that a client may take a name.

    Raises:
        RequestError: ``PERMISSION_DENIED``.
    """
    if identity.name and name != identity.name:
        raise RequestError(ErrorCode.PERMISSION_DENIED, _other_name(identity))


def lost_entry() -> CallError:
    """Return the error that ends the stream of a client that has lost the right to be in its room."""
    return _denied(CallError, "join", "be in this room any more")


def _no_entry(identity: Identity, right: str) -> CallError:
    if identity.token_helps:
        return CallError(ErrorCode.UNAUTHENTICATED, f"a token is required to {right} here: authorization: Bearer TOKEN")
    return _denied(CallError, right, f"{right} here")


def _denied(kind: type[E], right: str, what: str) -> E:
    return kind(ErrorCode.PERMISSION_DENIED, f"not allowed to {what} (the right `{right}` is not granted)")


def _other_name(identity: Identity) -> str:
    return f"your token gives you the name {identity.name!r}; use that, or none"
