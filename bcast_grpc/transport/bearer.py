"""The token in an ``authorization`` header (RFC 6750)."""

from __future__ import annotations

from collections.abc import Sequence

from bcast_grpc.errors import CallError, ErrorCode


def bearer_token(values: Sequence[str | bytes]) -> str:
    """Return the token in the values of ``authorization``; empty if there is none.

    Credentials of another scheme are ignored: they are for a proxy in front, to which browsers send them with each
    request.

    Raises:
        CallError: ``UNAUTHENTICATED``: the values are not one token. The text does not repeat them.
    """
    found = [_split(str(value)) for value in values]
    found = [(scheme, token) for scheme, token in found if scheme == "bearer" or not token]
    if not found:
        return ""
    scheme, token = found[0]
    if len(found) > 1 or scheme != "bearer" or not token or " " in token or not token.isascii():
        raise CallError(ErrorCode.UNAUTHENTICATED, "authorization: must be given once, as Bearer TOKEN")
    return token


def _split(value: str) -> tuple[str, str]:
    scheme, _, credentials = value.strip().partition(" ")
    return scheme.lower(), credentials.strip()
