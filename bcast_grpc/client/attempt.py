"""One attempt to connect: servers are tried one after the other, each once, until one lets us in.

Each server has a channel of its own. One channel for all would not do: gRPC chooses among its addresses by itself, and
only when a connection fails, so a client could not leave a server that is full or about to end; it would check one TLS
name for all; and it names one address of those that failed.

A server that does not answer holds up the next one for ``HEAD_START_S`` only: then both are waited for, and whichever
is connected first gets the call. There is never more than one call, or we would replace ourselves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import grpc

from bcast_grpc.client.address import Address
from bcast_grpc.client.channel import close_channel
from bcast_grpc.client.endings import NoChatServer, no_answer
from bcast_grpc.errors import BcastError, CallError, ConnectionLost, ErrorCode

T = TypeVar("T")

Open: TypeAlias = Callable[[Address], grpc.aio.Channel]
Enter: TypeAlias = Callable[[Address, grpc.aio.Channel], Awaitable[T]]
PutLast: TypeAlias = Callable[[Address, float], None]

HEAD_START_S = 0.5
"""gRPC gives each of its addresses a quarter of a second, but TLS with a busy server may take longer than that."""

_MAX_NAMED = 8
"""How many servers the text of an error names."""

_DECIDED = (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.TRANSIENT_FAILURE)


class Attempt:
    """One attempt.

    Args:
        addresses: whom to try, in this order; at least one.
        open_channel: makes a channel; raises ``ConnectionLost`` if it cannot.
        put_last: called for each server that failed or was passed over, with the seconds that it asked for.
        timeout_s: how long a server may take to be connected.
    """

    def __init__(self, addresses: Sequence[Address], open_channel: Open, put_last: PutLast, timeout_s: float) -> None:
        self._waiting = deque(addresses)
        self._is_single = len(addresses) == 1
        self._open_channel = open_channel
        self._put_last = put_last
        self._timeout_s = timeout_s
        self._connecting: dict[asyncio.Task[bool], tuple[Address, grpc.aio.Channel]] = {}
        self._failures: dict[Address, BcastError] = {}

    async def enter(self, enter: Enter[T]) -> T:
        """Return what ``enter`` returns for the first server with which it succeeds; that channel stays open.

        Raises:
            CallError: a server's answer holds for all of them; or all failed, and at least one of them answered.
            ConnectionLost: no server was reached.
        """
        try:
            while self._waiting or self._connecting:
                if self._waiting and not any(task.done() for task in self._connecting):
                    self._connect(self._waiting.popleft())
                task = await self._next_decided()
                if task is None:
                    continue
                address, channel = self._connecting.pop(task)
                try:
                    return await self._enter(address, channel, enter, in_time=task.result())
                except BcastError as error:
                    if is_for_all(error):
                        raise
                    self._fail(address, error)
            raise all_failed(self._failures)
        finally:
            await self._pass_over_others()

    def _connect(self, address: Address) -> None:
        try:
            channel = self._open_channel(address)
        except BcastError as error:
            self._fail(address, error)
            return
        task = asyncio.create_task(self._decide(channel))
        self._connecting[task] = address, channel

    async def _decide(self, channel: grpc.aio.Channel) -> bool:
        """Wait until it is known whether a server can be reached; False if that takes too long.

        If it cannot, the status of a call says why. So a single server is called without waiting.
        """
        if self._is_single:
            return True
        try:
            async with asyncio.timeout(self._timeout_s):
                while (state := channel.get_state(try_to_connect=True)) not in _DECIDED:
                    await channel.wait_for_state_change(state)
        except TimeoutError:
            return False
        return True

    async def _next_decided(self) -> asyncio.Task[bool] | None:
        """Wait for one of those that are being connected; ``None`` if it is time to try another beside them."""
        if not self._connecting:
            return None
        timeout_s = HEAD_START_S if self._waiting else None
        done, _ = await asyncio.wait(self._connecting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        return next((task for task in self._connecting if task in done), None)

    async def _enter(self, address: Address, channel: grpc.aio.Channel, enter: Enter[T], *, in_time: bool) -> T:
        try:
            if not in_time:
                raise no_answer(str(address), self._timeout_s)
            return await enter(address, channel)
        except BaseException:
            await close_channel(channel)
            raise

    def _fail(self, address: Address, error: BcastError) -> None:
        self._failures[address] = error
        self._put_last(address, error.retry_after_s)

    async def _pass_over_others(self) -> None:
        others, self._connecting = self._connecting, {}
        for task, (address, channel) in others.items():
            task.cancel()
            self._put_last(address, 0.0)
            await close_channel(channel)


def is_for_all(error: BcastError) -> bool:
    """Whether a server's answer holds for all servers: who we are, or what we ask for, is refused."""
    if error.code is ErrorCode.TOKEN_EXPIRED:
        return True
    return not error.retryable and not isinstance(error, NoChatServer)


def all_failed(failures: Mapping[Address, BcastError]) -> BcastError:
    """One error for all servers: it names each of them, and says why."""
    if len(failures) == 1:
        return next(iter(failures.values()))
    # The error has the code of the last that answered, which comes last, because its code follows the text.
    ordered = sorted(failures.items(), key=lambda failure: isinstance(failure[1], CallError))
    named = [_named(address, str(error)) for address, error in ordered[:-1][: _MAX_NAMED - 1]]
    if len(ordered) > _MAX_NAMED:
        named.append(f"{len(ordered) - _MAX_NAMED} more")
    address, last = ordered[-1]
    text = "; ".join(dict.fromkeys([*named, _named(address, last.reason)]))
    retry_after_s = min(error.retry_after_s for error in failures.values())
    if isinstance(last, ConnectionLost):
        return ConnectionLost(text, retry_after_s=retry_after_s)
    retryable = any(error.retryable for error in failures.values())
    return CallError(last.code, text, retry_after_s=retry_after_s, retryable=retryable)


def _named(address: Address, text: str) -> str:
    return text if str(address) in text else f"{address}: {text}"
