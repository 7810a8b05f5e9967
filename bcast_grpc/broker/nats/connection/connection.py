"""The connection to NATS: the library nats-py, and what it leaves to its users.

- Requests that are under way when the connection is lost would wait for their timeouts: here they fail at once.
- A silent server would be noticed after minutes: here it is pinged every second.
- ``connect`` never returns while nobody answers: here it has a time limit.
- A server that refuses for good would be asked again and again: at the start that is reported at once.
- Some errors close the client for good: here another one is made, and subscribes to the same subjects.
- What is published meanwhile would be sent later: here it is refused.
- A server that was left could be chosen again at once, and those that were discovered are forgotten with the client:
  here the others come first, all of them.
- A server that is too old, or without TLS, would be used: here it is refused before anything is sent to it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from nats import errors
from nats.aio.msg import Msg

from bcast_grpc.broker.base import CannotOpen
from bcast_grpc.broker.nats.connection.client import CheckingClient, Refused, Take, Unusable
from bcast_grpc.broker.nats.connection.denials import Denials
from bcast_grpc.broker.nats.connection.requests import Lost, Requests
from bcast_grpc.broker.nats.connection.servers import Servers
from bcast_grpc.broker.nats.connection.target import Target

RESERVE_BYTES = 4096
"""Headers and subject count as payload for the server, and a message that is too large closes the connection."""

_AGAIN_S = 0.25
_LONGEST_AGAIN_S = 4.0


class TooLarge(Exception):
    """The message is larger than the NATS server takes. It was not sent."""


class Connection:
    """A connection to NATS that is made again until ``close``. All callbacks come from the loop.

    Args:
        target: where to connect to.
        changed: called when the connection is lost, with why, and again if servers turn out to be unusable; when it is
            there again, with an empty text. All subscriptions are in force then.

    Attributes:
        up: whether the connection is there.
        prove: asks a server, which is used instead of one that was left, for something; raises ``Lost``.
        denials: what NATS did not let this account do.
    """

    def __init__(self, target: Target, changed: Callable[[str], None]) -> None:
        self.up = False
        self.prove: Callable[[], Awaitable[None]] | None = None
        self._doubted = False  # whether the next server has to be proved
        self.denials = Denials()
        self._target = target
        self._servers = Servers()
        self._changed = changed
        self._client: CheckingClient | None = None
        self._closing = self._started = False
        self._error = ""
        self._told = ""  # why no server can be used
        self._takes: dict[str, Take] = {}
        self._subscriptions: dict[str, Any] = {}
        self._requests = Requests(self.publish)
        self._rebuilding: asyncio.Task[None] | None = None

    # --- the connection itself

    async def start(self) -> None:
        """Connect for the first time.

        Raises:
            CannotOpen: nobody answers, the login is refused, or the server cannot be used.
        """
        self._takes[self._requests.subject] = self._requests.answered
        try:
            async with asyncio.timeout(self._target.patience_s):
                await self._connect()
        except (TimeoutError, OSError, errors.Error, Refused) as error:
            await self.close()
            why = str(error) if isinstance(error, Refused) else self._error or _plainly(error)
            raise CannotOpen(f"the NATS server at {self._target.shown} cannot be used: {why}") from None
        self._started = True

    async def close(self) -> None:
        """Close the connection. May be called again."""
        self._closing = True
        if self._rebuilding:
            self._rebuilding.cancel()
        self._lose()
        client, self._client = self._client, None
        if client:
            with suppress(OSError, errors.Error, TimeoutError):
                async with asyncio.timeout(2):
                    await client.close()

    async def move_on(self, why: str = "") -> None:
        """Leave a server that is of no use, for one that is proved to be; without a reason nobody is told."""
        client = self._client
        if client and self.up:
            client.leave()
            self._error, self._doubted = why, not why
            self._lose()
            self._doubted = True
            with suppress(OSError, errors.Error, TimeoutError):
                async with asyncio.timeout(2):
                    await client.close()
            await self._on_closed(client)

    @property
    def max_bytes(self) -> int:
        """The largest payload that is sent."""
        return (self._client.max_payload if self._client else 0) - RESERVE_BYTES

    @property
    def is_clustered(self) -> bool:
        """Whether the server is one of a cluster."""
        return bool(self._client and self._client._server_info.get("cluster"))  # noqa: SLF001

    @property
    def has_others(self) -> bool:
        """Whether another server is known."""
        return bool(self._client and len(self._client.servers) > 1)

    async def _connect(self) -> None:
        client = self._client = CheckingClient(self._servers, self._target.demands_tls, self._target.least_bytes)
        await client.connect(
            list(self._target.servers),
            name="bcast_grpc",
            dont_randomize=True,  # the client arranges them itself
            error_cb=self._on_error,
            disconnected_cb=partial(self._on_disconnected, client),
            reconnected_cb=partial(self._on_connected, client),
            closed_cb=partial(self._on_closed, client),
            connect_timeout=2,
            reconnect_time_wait=_AGAIN_S,  # type: ignore[arg-type]  # nats-py sleeps for it
            max_reconnect_attempts=-1,
            ping_interval=1,
            max_outstanding_pings=2,
            pending_size=0,
            **self._target.login,
        )
        self._subscriptions.clear()
        await self._on_connected(client)

    async def _rebuild(self) -> None:
        wait_s = _AGAIN_S
        while True:
            await asyncio.sleep(wait_s * (0.5 + secrets.randbelow(1000) / 1000))
            try:
                async with asyncio.timeout(self._target.patience_s):
                    await self._connect()
            except (TimeoutError, OSError, errors.Error, Refused, Lost) as error:
                if isinstance(error, Refused):
                    self._cannot_use(str(error))
                client, self._client = self._client, None
                if client:
                    with suppress(OSError, errors.Error, TimeoutError):
                        await client.close()
                wait_s = min(2 * wait_s, _LONGEST_AGAIN_S)
            else:
                return

    async def _on_connected(self, client: CheckingClient) -> None:
        if client is not self._client or self._closing:
            return
        missing = {subject: take for subject, take in self._takes.items() if subject not in self._subscriptions}
        for subject, take in missing.items():
            await self._subscribe(client, subject, take)
        await client.flush(timeout=2)
        self.up = True
        if self._doubted and self.prove:
            try:
                await self.prove()
            except (Lost, asyncio.CancelledError):  # cancelled where it takes too long
                client.leave()
                self.up = False
                raise
        self._doubted = False
        client.keep()
        self._error = self._told = ""
        self._changed("")

    async def _on_disconnected(self, client: CheckingClient) -> None:
        if client is self._client:
            self._lose()

    async def _on_closed(self, client: CheckingClient) -> None:
        if client is self._client and not self._closing and (not self._rebuilding or self._rebuilding.done()):
            self._rebuilding = asyncio.get_running_loop().create_task(self._rebuild())

    async def _on_error(self, error: Exception) -> None:
        if self.denials.note(str(error), log=self._started):
            return
        if isinstance(error, errors.Error) or not self._error:  # what a server says tells more than that it hangs up
            self._error = _plainly(error)
        if isinstance(error, Unusable):
            self._cannot_use(str(error))

    def _cannot_use(self, why: str) -> None:
        """Tell once why a server that could be reached is not used."""
        if self._started and not self.up and not self._closing and why != self._told:
            self._told = why
            self._changed(why)

    def _lose(self) -> None:
        self._requests.lose()
        self.denials.last = ""
        up, self.up = self.up, False
        if up and not self._closing and not self._doubted:
            self._changed(self._error or "the server does not answer")  # to pings: nats-py reports all else

    # --- messages

    async def subscribe(self, subject: str, take: Take) -> None:
        """Call ``take`` with every message of a subject from now on, and over all connections, until ``unsubscribe``.

        Raises:
            Lost: there is no connection at the moment; the next one subscribes.
        """
        self._takes[subject] = take
        client = self._client
        if not self.up or client is None:
            raise Lost
        with _Losing():
            await self._subscribe(client, subject, take)
            await client.flush(timeout=2)

    async def _subscribe(self, client: CheckingClient, subject: str, take: Take) -> None:
        self._subscriptions[subject] = await client.take_from(subject, take)

    async def unsubscribe(self, subject: str) -> None:
        """Stop taking a subject's messages."""
        self._takes.pop(subject, None)
        subscription = self._subscriptions.pop(subject, None)
        if subscription:
            with suppress(errors.Error, OSError):
                await subscription.unsubscribe()

    async def publish(self, subject: str, data: bytes, headers: dict[str, str] | None = None, reply: str = "") -> None:
        """Send a message, which may get lost.

        Raises:
            Lost: there is no connection.
            TooLarge: the server would not take it.
        """
        if not self.up or self._client is None:
            raise Lost
        if len(data) > self.max_bytes:
            raise TooLarge(f"a message of {len(data)} bytes: the NATS server takes {self.max_bytes} (max_payload)")
        with _Losing():
            await self._client.publish(subject, data, reply, headers=headers)

    async def request(self, subject: str, data: bytes, timeout_s: float, headers: dict[str, str] | None = None) -> Msg:
        """Send a message, and return the answer.

        Raises:
            Lost: there is no answer; at once, if the connection is lost.
            TooLarge: the server would not take it.
        """
        return await self._requests.ask(subject, data, timeout_s, headers)

    async def collect(self, subject: str, data: bytes, timeout_s: float) -> list[Msg]:
        """Send a message that any of several may answer, and return all answers up to the one with a ``Status``.

        Raises:
            Lost: they do not come.
        """
        return await self._requests.collect(subject, data, timeout_s)


def _plainly(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer"
    return str(error).removeprefix("nats: ") or type(error).__name__


class _Losing:
    """Raises ``Lost`` where nats-py has several errors for that."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, errors.Error | OSError | TimeoutError | RuntimeError):  # uvloop's, of a closed transport
            raise Lost from error
