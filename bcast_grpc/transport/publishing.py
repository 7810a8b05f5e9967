"""Publishes single messages for clients that hold no stream. They wait while the server is busy, as streams do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from bcast_grpc.core.admission import Admission
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.errors import CallError, ErrorCode, RequestError
from bcast_grpc.events import Ack, Error, Event, Request
from bcast_grpc.transport.scheduler import LoopScheduler
from bcast_grpc.transport.stream import resolve

PATIENCE_S = 10.0
MAX_WAITING = 4096
MAX_WAITING_BYTES = 16 * 1024 * 1024

_RETRY_AFTER_S = 1.0


class Publishing:
    """Publishes messages, and bounds the number and size of those that wait, since there may be many publishers."""

    def __init__(self, scheduler: LoopScheduler) -> None:
        self._scheduler = scheduler
        self._count = 0
        self._bytes = 0

    async def publish(
        self, admission: Admission, request: Request, begin: Callable[[Publisher], Awaitable[None]] | None = None
    ) -> Ack:
        """Publish one message; return once it is in the others' queues.

        Args:
            admission: lets its author in, and is released.
            request: the message.
            begin: awaited when the author's session is known, before the message is published.

        Raises:
            BcastError: the message was refused.
        """
        answered: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        publisher = Publisher(admission, answer=lambda event: self._scheduler.call(partial(resolve, answered, event)))
        try:
            if begin:
                await begin(publisher)
            publisher.hold(request)
            await self._wait(publisher, len(request.msg) + len(request.data))
            publisher.publish(request)
            answer = (await answered).detail
        finally:
            publisher.close()
        if isinstance(answer, Error):
            raise RequestError(answer.code, answer.reason, retry_after_s=answer.retry_after_s)
        assert isinstance(answer, Ack)
        return answer

    async def _wait(self, publisher: Publisher, size: int) -> None:
        """Wait until a message of ``size`` bytes may be published. The caller must publish it before awaiting anything.

        Raises:
            CallError: ``RATE_LIMITED`` if too many are waiting already; ``BROKER_UNAVAILABLE`` if it takes too long.
        """
        if not publisher.congested:
            return
        if self._count >= MAX_WAITING or self._bytes + size > MAX_WAITING_BYTES:
            raise CallError(
                ErrorCode.RATE_LIMITED,
                f"{self._count} messages of {self._bytes} bytes are waiting to be published, which is the limit;"
                f" try again in {_RETRY_AFTER_S:g} s",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._count += 1
        self._bytes += size
        try:
            async with asyncio.timeout(PATIENCE_S):
                await _until_clear(publisher)
        except TimeoutError:
            raise CallError(
                ErrorCode.BROKER_UNAVAILABLE,
                f"the message was not published: the server has been overloaded for {PATIENCE_S:g} s",
                retry_after_s=_RETRY_AFTER_S,
            ) from None
        finally:
            self._count -= 1
            self._bytes -= size


async def _until_clear(publisher: Publisher) -> None:
    while publisher.congested:
        clear: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        publisher.when_clear(partial(resolve, clear, None))
        await clear
