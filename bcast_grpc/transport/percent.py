"""Percent-encoded text in metadata and query strings."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from bcast_grpc.core.names import shortened
from bcast_grpc.errors import CallError, ErrorCode

_BROKEN = re.compile("%(?![0-9A-Fa-f]{2})")


def percent_decode(key: str, value: str | bytes) -> str:
    """Decode the value of a key.

    Raises:
        CallError: ``METADATA_INVALID``: the value is not percent-encoded, or not UTF-8.
    """
    if isinstance(value, bytes) or not value.isascii():
        raise _invalid(key, "must be ASCII, with other characters percent-encoded, such as 'Jos%C3%A9'")
    if _BROKEN.search(value):
        raise _invalid(key, f"{shortened(value)!r} is not percent-encoded; write % as %25")
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        raise _invalid(key, f"{shortened(value)!r} is not percent-encoded UTF-8, such as 'Jos%C3%A9'") from None


def _invalid(key: str, reason: str) -> CallError:
    return CallError(ErrorCode.METADATA_INVALID, f"{shortened(key)}: {reason}")
