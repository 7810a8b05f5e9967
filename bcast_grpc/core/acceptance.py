"""What makes a message acceptable, and who its author is."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from bcast_grpc.core.hello import Hello
from bcast_grpc.core.hub import Hub
from bcast_grpc.core.identity import Identity
from bcast_grpc.errors import ErrorCode, RequestError
from bcast_grpc.events import Author, Entry, Request, relayed, utf8_bytes

BROADCAST = ("", "broadcast")
"""The operations that send a message."""

_MOST_UTF8 = 4
"""Most bytes of a character."""

_new = tuple.__new__  # a named tuple's own constructor takes twice as long, and this is made for each message


def author_of(hello: Hello, identity: Identity) -> Author:
    """Return the author that a client's messages will have.

    A key cannot be forged: session ids are public, so a key that contains a chosen id begins with a colon, and one that
    belongs to a subject begins with ``@``. No session id begins with either.
    """
    session = secrets.token_urlsafe(9)
    if not hello.client:
        return Author(session, hello.name, session)
    subject = identity.subject
    scope = f"@{len(subject)}:{subject}" if subject else ""
    return Author(session, hello.name, f"{scope}:{hello.client}")


def rate_key(author: Author, identity: Identity) -> str:
    """Return the key of the rate limit that an author's messages count against: all streams of a subject share one."""
    return f"@{identity.subject}" if identity.subject else author.key


def renewal_key(author: Author, identity: Identity) -> str:
    """Return the key of the rate limit for renewals: one of their own, or who sends as much as it may would expire."""
    return f"!{rate_key(author, identity)}"


def entries_of(hub: Hub, author: Author, requests: Sequence[Request]) -> list[Entry] | None:
    """Return the messages that plain requests ask for, in a third of the time that ``entry_of`` takes for each.

    None if any of them needs a closer look: it is no broadcast, nearly too large, or something is wrong with it. No
    rate limit is checked.
    """
    most, most_of_id, name = hub.limits.max_message_bytes, hub.limits.max_id_bytes, relayed(author.name, "")
    entries = [
        _new(Entry, (author, name + msg, data, id_, False))
        for operacion, msg, data, id_, fault in requests
        if operacion in BROADCAST
        and not fault
        and 0 < (len(msg) if msg.isascii() else _MOST_UTF8 * len(msg)) + len(data) <= most
        and (not id_ or (len(id_) <= most_of_id and id_.isascii()))
    ]
    return entries if len(entries) == len(requests) else None


def entry_of(hub: Hub, author: Author, request: Request, rated: str | None) -> Entry:
    """Return the message that a broadcast asks for.

    Args:
        hub: has the limits.
        author: who sends the message.
        request: the broadcast.
        rated: the key of the rate limit that it counts against; None if it counts against none.

    Raises:
        RequestError: ``EMPTY_MESSAGE``, ``MESSAGE_TOO_LARGE``, ``MALFORMED`` or ``RATE_LIMITED``.
    """
    _, msg, data, id_, _ = request
    size = (len(msg) if msg.isascii() else utf8_bytes(msg)) + len(data)
    limits = hub.limits
    if not 0 < size <= limits.max_message_bytes:
        raise _wrong_size(size, limits.max_message_bytes)
    if id_ and (len(id_) > limits.max_id_bytes or not id_.isascii()):
        check_id(hub, request)
    if rated:
        check_rate(hub, rated)
    name = author.name
    return _new(Entry, (author, relayed(name, msg) if name else msg, data, id_, False))


def _wrong_size(size: int, limit: int) -> RequestError:
    if not size:
        return RequestError(ErrorCode.EMPTY_MESSAGE, "a broadcast needs msg or data")
    return RequestError(ErrorCode.MESSAGE_TOO_LARGE, f"msg and data together are {size} bytes; the limit is {limit}")


def check_rate(hub: Hub, rated: str) -> None:
    """Count one request that makes much work against the rate limit of ``rated``.

    Raises:
        RequestError: ``RATE_LIMITED``.
    """
    if hub.rates and (wait_s := hub.rates.take(rated)):
        raise RequestError(
            ErrorCode.RATE_LIMITED,
            f"the limit is {hub.limits.rate:g} messages a second; try again in {wait_s:.3f} s",
            retry_after_s=wait_s,
        )


def check_id(hub: Hub, request: Request) -> None:
    """Check the length of a request's id.

    Raises:
        RequestError: ``MALFORMED``.
    """
    if len(request.id) > hub.limits.max_id_bytes or utf8_bytes(request.id) > hub.limits.max_id_bytes:
        raise RequestError(
            ErrorCode.MALFORMED, f"id is {utf8_bytes(request.id)} bytes long; the limit is {hub.limits.max_id_bytes}"
        )
