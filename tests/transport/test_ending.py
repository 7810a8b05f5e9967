"""How serving a client ends, whatever was raised."""

from __future__ import annotations

import gc
import logging
import weakref

import pytest

from bcast_grpc.core.counts import Counts
from bcast_grpc.errors import CallError, ErrorCode, RequestError
from bcast_grpc.transport.ending import ConnectionGone, Ending, StreamEnded, ending
from bcast_grpc.wire.fields import MalformedFrame


async def served(raised: BaseException | None = None) -> str:
    """Serve nobody, and raise that."""
    if raised:
        raise raised
    return "well"


async def test_a_good_end_has_a_result() -> None:
    """And nothing else."""
    assert await ending(served(), "ana") == Ending("well", None, gone=False)


@pytest.mark.parametrize("kind", [CallError, RequestError])
async def test_an_error_of_the_family_is_what_the_client_is_told(kind: type[CallError | RequestError]) -> None:
    """With its code, its reason and when to come back."""
    error = kind(ErrorCode.RATE_LIMITED, "too fast", retry_after_s=2.0, retryable=False)
    ended = await ending(served(error), "ana")
    assert isinstance(ended.error, CallError)
    assert ended.error is not error
    assert (ended.error.code, ended.error.reason) == (ErrorCode.RATE_LIMITED, "too fast")
    assert (ended.error.retry_after_s, ended.error.retryable) == (2.0, False)
    assert not ended.gone


async def test_what_a_call_is_refused_with_is_counted() -> None:
    """What ends a stream is not: that is counted where the client leaves its room."""
    counts = Counts()
    full = CallError(ErrorCode.SERVER_FULL, "full")
    for raised in (full, MalformedFrame("no frame"), StreamEnded(full), ConnectionGone("reset"), None):
        ended = await ending(served(raised), "ana", counts=counts)
        assert bool(ended.error) is not isinstance(raised, ConnectionGone | None)
    assert +counts.errors == {ErrorCode.SERVER_FULL: 1, ErrorCode.MALFORMED: 1}


async def test_a_malformed_frame_is_the_clients_error() -> None:
    """At every door."""
    ended = await ending(served(MalformedFrame("no frame")), "ana")
    assert ended.error
    assert (ended.error.code, ended.error.reason) == (ErrorCode.MALFORMED, "no frame")


async def test_nobody_is_told_where_the_client_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    """A door names what its own I/O raises for that; the log says who it was."""
    caplog.set_level(logging.DEBUG)
    assert await ending(served(ConnectionGone("reset")), "ana") == Ending(gone=True)
    assert await ending(served(BrokenPipeError("broken")), "bob", OSError) == Ending(gone=True)
    assert caplog.messages == ["ana disconnected: reset", "bob disconnected: broken"]


async def test_anything_else_is_an_internal_error(caplog: pytest.LogCaptureFixture) -> None:
    """The log has all of it, the client only that there was one. That includes I/O that is not the door's own."""
    ended = await ending(served(OSError("the disk is full")), "ana")
    assert ended.error
    assert (ended.error.code, ended.error.reason) == (
        ErrorCode.INTERNAL,
        "internal error of the server; its log has the details",
    )
    (record,) = caplog.records
    assert record.getMessage() == "internal error while serving ana"
    assert record.exc_info
    caplog.clear()


async def test_what_was_raised_keeps_nothing() -> None:
    """Its frames hold what the client sent."""

    class Sent:
        """What a client sent."""

    async def serve() -> None:
        sent = Sent()
        held.append(weakref.ref(sent))
        raise CallError(ErrorCode.MALFORMED, "no")

    held: list[weakref.ref[Sent]] = []
    gc.disable()
    try:
        ended = await ending(serve(), "ana")
        assert ended.error
        assert held[0]() is None
    finally:
        gc.enable()
