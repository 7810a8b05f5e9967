"""The token in an ``authorization`` header (RFC 6750)."""

from __future__ import annotations

from collections.abc import Sequence

from bcast_grpc.errors import CallError, ErrorCode


def bearer_token(values: Sequence[str | bytes]) -> str:
    """Return the token in the values of ``authorization``; empty if there is none.

    Raises:
        CallError: ``UNAUTHENTICATED``: the values are not one token. The text does not repeat them.
    """
    if not values:
        return ""
    scheme, _, token = str(values[0]).strip().partition(" ")
    token = token.strip()
    if len(values) > 1 or scheme.lower() != "bearer" or not token or " " in token or not token.isascii():
        raise CallError(ErrorCode.UNAUTHENTICATED, "authorization: must be given once, as Bearer TOKEN")
    return token
