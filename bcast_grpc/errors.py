"""All errors, in one family.

Every error has a code of the contract's enum ``bcast_grpc.v1.ErrorCode``. The code is for programs and decides whether
a retry can help; the reason is for people::

    BcastError             .code .reason .retryable .retry_after_s
    ├── RequestError       one request was not carried out; the stream goes on
    ├── CallError          the call was refused, or the server ended it
    ├── ConnectionLost     the server cannot be reached, or the connection broke (client only)
    ├── ChatClosed         the chat was used after it was closed (client only)
    └── BacklogFull        ``post()`` was called faster than the server acknowledges (client only)
"""

from __future__ import annotations

import copyreg
from enum import IntEnum


class ErrorCode(IntEnum):
    """The contract's error codes, with the numbers and names of the ``.proto``."""

    UNSPECIFIED = 0
    EMPTY_MESSAGE = 1
    MESSAGE_TOO_LARGE = 2
    UNKNOWN_OPERATION = 3
    RATE_LIMITED = 4
    NAME_INVALID = 5
    METADATA_INVALID = 6
    UNAUTHENTICATED = 7
    PERMISSION_DENIED = 8
    TOKEN_EXPIRED = 9
    SERVER_FULL = 10
    SLOW_CONSUMER = 11
    REPLACED = 12
    SHUTTING_DOWN = 13
    BROKER_UNAVAILABLE = 14
    INTERNAL = 15
    MALFORMED = 16

    @property
    def retryable(self) -> bool:
        """Whether the same request or call may succeed later."""
        return self in _RETRYABLE


_RETRYABLE = frozenset(
    {
        ErrorCode.RATE_LIMITED,
        ErrorCode.SERVER_FULL,
        ErrorCode.SLOW_CONSUMER,
        ErrorCode.SHUTTING_DOWN,
        ErrorCode.BROKER_UNAVAILABLE,
    }
)


class BcastError(Exception):
    """The root of the family.

    Attributes:
        code: which error it is; ``UNSPECIFIED`` for errors of the client itself.
        reason: what was wrong and what would be right, for a person.
        retry_after_s: how long to wait before a retry, in seconds; 0 if any time is fine.

    Args:
        retryable: whether a retry can help, as the server said; by default the code decides.
    """

    def __init__(
        self, code: ErrorCode, reason: str, *, retry_after_s: float = 0.0, retryable: bool | None = None
    ) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.retry_after_s = retry_after_s
        self._retryable = code.retryable if retryable is None else retryable

    @property
    def retryable(self) -> bool:
        """Whether a retry can help."""
        return self._retryable

    def __reduce__(self) -> tuple[object, ...]:
        # Not every subclass can be made from `args`, so pickle and copy must not call it.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]

    def __str__(self) -> str:
        return f"{self.reason} ({self.code.name})" if self.code else self.reason


class RequestError(BcastError):
    """One request was not carried out; the stream goes on."""


class CallError(BcastError):
    """The call was refused, or the server ended it."""


class ConnectionLost(BcastError):
    """The server cannot be reached, or the connection to it broke."""

    def __init__(self, reason: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(ErrorCode.UNSPECIFIED, reason, retry_after_s=retry_after_s)

    @property
    def retryable(self) -> bool:
        """Always true: the server may be there at the next attempt."""
        return True


class ChatClosed(BcastError):
    """The chat was used after it was closed."""

    def __init__(self, reason: str = "this chat is closed") -> None:
        super().__init__(ErrorCode.UNSPECIFIED, reason)


class BacklogFull(BcastError):
    """Posted faster than the server acknowledges: wait for ``flush()``, or use ``send()``."""

    def __init__(self, reason: str) -> None:
        super().__init__(ErrorCode.UNSPECIFIED, reason)

    @property
    def retryable(self) -> bool:
        """Always true: every acknowledgement makes room."""
        return True
