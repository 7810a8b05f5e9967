"""How serving a client ends: one place that turns exceptions into endings, for all doors."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from bcast_grpc.core.counts import Counts
from bcast_grpc.errors import BcastError, CallError, ErrorCode
from bcast_grpc.wire.fields import MalformedFrame

logger = logging.getLogger(__name__)

T = TypeVar("T")


class ConnectionGone(Exception):
    """The connection is lost: nothing more can be read or written, so the client cannot learn why."""


class StreamEnded(Exception):
    """The stream of a client that was in its room has ended with an error, which is counted there."""

    def __init__(self, error: CallError) -> None:
        super().__init__(error)
        self.error = error


@dataclass(frozen=True, slots=True)
class Ending(Generic[T]):
    """How serving a client ended.

    Attributes:
        result: what serving the client returned; None unless it ended normally.
        error: the error to send to the client; None if it ended normally, or if the connection is lost.
        gone: whether the connection is lost, so that nothing can be sent to the client.
    """

    result: T | None = None
    error: CallError | None = None
    gone: bool = False


async def ending(serving: Awaitable[T], who: str, *gone: type[Exception], counts: Counts | None = None) -> Ending[T]:
    """Serve a client, and return how that ended. Only ``CancelledError`` is raised.

    An exception refers to the frames that it was raised through, and to all objects in them. So no exception leaves
    this function: an error that is returned is a new object.

    Args:
        serving: serves the client.
        who: the client, for the log.
        gone: what this door's I/O raises for a lost connection, besides ``ConnectionGone``.
        counts: counts the error, if a call is refused with it; None where it ends a stream, which counts it itself.
    """
    try:
        return Ending(await serving)
    except Exception as raised:  # noqa: BLE001  # it is logged
        return ended_by(raised, who, *gone, counts=counts)


def ended_by(raised: Exception, who: str, *gone: type[Exception], counts: Counts | None = None) -> Ending[Any]:
    """Return the ending that an exception means; see ``ending``."""
    if isinstance(raised, StreamEnded):
        return Ending(error=raised.error)
    ended = _ended_by(raised, who, *gone)
    if counts and ended.error:
        counts.errors[ended.error.code] += 1
    return ended


def _ended_by(raised: Exception, who: str, *gone: type[Exception]) -> Ending[Any]:
    if isinstance(raised, BcastError):
        return Ending(
            error=CallError(raised.code, raised.reason, retry_after_s=raised.retry_after_s, retryable=raised.retryable)
        )
    if isinstance(raised, MalformedFrame):
        return Ending(error=CallError(ErrorCode.MALFORMED, str(raised)))
    if isinstance(raised, (ConnectionGone, *gone)):
        logger.debug("%s disconnected: %s", who, raised)
        raised.__traceback__ = raised.__context__ = None  # some connections keep what they raised
        return Ending(gone=True)
    logger.error("internal error while serving %s", who, exc_info=raised)
    return Ending(error=internal_error())


def internal_error() -> CallError:
    """Return the error that a client gets for a failure of the server itself."""
    return CallError(ErrorCode.INTERNAL, "internal error of the server; its log has the details")
