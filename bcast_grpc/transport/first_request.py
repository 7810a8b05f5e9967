"""Clients that present their token as their first request: plain sockets, which have no headers, and browsers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

from bcast_grpc.core.admission import Admission
from bcast_grpc.core.hello import Hello
from bcast_grpc.core.identity import Caller
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Request
from bcast_grpc.transport.door import Shared
from bcast_grpc.transport.entering import admit
from bcast_grpc.wire.json_stream import RequestReader

MAX_BYTES = 64 * 1024
"""The most that a client may send before its first request is complete."""


class First(NamedTuple):
    """The first request of a client, and the requests that came with it and are still to be carried out."""

    request: Request
    rest: Iterator[Sequence[Request]]


def find_first(slices: Iterator[Sequence[Request]]) -> First | None:
    """Return the first request in slices; None if there is none."""
    for requests in slices:
        if requests:
            # With an id it is carried out again, as any other request, so that the client gets its answer.
            rest = requests if requests[0].id else requests[1:]
            return First(requests[0], chain([rest], slices))
    return None


class FirstRequest:
    """Waits for the first request in a stream of bytes.

    Args:
        reader: reads the stream.

    Attributes:
        arrived: its result is the request, or the error that came instead.
        rest: the requests that came with it.
    """

    def __init__(self, reader: RequestReader) -> None:
        self._reader = reader
        self._bytes = 0
        self.arrived: asyncio.Future[Request] = asyncio.get_running_loop().create_future()
        self.rest: Iterator[Sequence[Request]] = iter(())

    @property
    def expected(self) -> bool:
        """Whether the request has not come yet."""
        return not self.arrived.done()

    def read(self, data: bytes) -> None:
        """Read the next bytes."""
        self._bytes += len(data)
        if first := find_first(self._reader.read(data)):
            self.rest = first.rest
            self.arrived.set_result(first.request)
        elif self._reader.fault:
            self.fail(copy(self._reader.fault))
        elif self._bytes > MAX_BYTES:
            self.fail(too_much())

    def fail(self, error: Exception) -> None:
        """Note that the request will not come."""
        if self.expected:
            self.arrived.set_exception(error)


async def admit_with_first(
    shared: Shared, hello: Hello, caller: Caller, first: Callable[[], Awaitable[Request]]
) -> Admission:
    """Admit a client, or wait for it to present a token if it needs one.

    Args:
        shared: what all doors share.
        hello: what it wants.
        caller: what is known about it.
        first: waits for its first request.

    Raises:
        CallError: the client is refused.
    """
    timeout_s = shared.handshake_s
    try:
        return await admit(shared.hub, shared.scheduler, hello, caller)
    except CallError as error:
        if caller.token or error.code is not ErrorCode.UNAUTHENTICATED:
            raise
    counts = shared.hub.counts
    counts.presenting += 1
    try:
        async with asyncio.timeout(timeout_s):
            request = await first()
    except TimeoutError:
        raise _token_required(f"none came within {timeout_s:g} s") from None
    finally:
        counts.presenting -= 1
    if request.operacion != "auth" or not request.msg:
        raise _token_required("something else came first")
    return await admit(shared.hub, shared.scheduler, hello, replace(caller, token=request.msg))


def too_much() -> CallError:
    """Return the error for a client that sends more than ``MAX_BYTES`` before its first request is complete."""
    return _token_required(f"{MAX_BYTES} bytes of something else came first")


def _token_required(why: str) -> CallError:
    example = '{"operacion":"auth","msg":"TOKEN"}'
    return CallError(ErrorCode.UNAUTHENTICATED, f"a token is required before anything else, as in {example}; {why}")
