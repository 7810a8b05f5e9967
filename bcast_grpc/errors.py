"""What can go wrong, in one family.

Every fault has a code of the contract's enum ``bcast_grpc.v1.ErrorCode``; the code says what it is and whether to come
back, the reason says it to a person::

    BcastError             .code .reason .retryable .retry_after_s
    ├── RequestError       one request was not carried out; the stream goes on
    ├── CallError          the call ended, or was never let in
    ├── ConnectionLost     no server there, or what was between us and it broke (client only)
    ├── ChatClosed         used after it was closed (client only)
    └── BacklogFull        posted faster than the server acknowledges (client only)
"""

from __future__ import annotations

import copyreg
from enum import IntEnum


class ErrorCode(IntEnum):
    """The contract's error codes; numbers and names are those of the ``.proto``."""

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
        code: what it is.
        reason: what was wrong and what would be right, for a person.
        retry_after_s: how long to wait before that, in seconds; 0 where it does not matter.

    Args:
        retryable: what the server said about it; else the code decides.
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
        """Whether trying again can help."""
        return self._retryable

    def __reduce__(self) -> tuple[object, ...]:
        # Not every child takes what is in `args`.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]

    def __str__(self) -> str:
        return f"{self.reason} ({self.code.name})" if self.code else self.reason


class RequestError(BcastError):
    """One request was not carried out; the stream goes on."""


class CallError(BcastError):
    """The call ended, or was never let in."""


class ConnectionLost(BcastError):
    """No server there, or what was between us and it broke."""

    def __init__(self, reason: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(ErrorCode.UNSPECIFIED, reason, retry_after_s=retry_after_s)

    @property
    def retryable(self) -> bool:
        """Always: another try may find it there."""
        return True


class ChatClosed(BcastError):
    """The connection was used after it was closed."""

    def __init__(self, reason: str = "this chat is closed") -> None:
        super().__init__(ErrorCode.UNSPECIFIED, reason)


class BacklogFull(BcastError):
    """Posted faster than the server acknowledges: wait for ``flush()``, or use ``send()``."""

    def __init__(self, reason: str) -> None:
        super().__init__(ErrorCode.UNSPECIFIED, reason)

    @property
    def retryable(self) -> bool:
        """Always: the backlog shrinks with every acknowledgement."""
        return True
