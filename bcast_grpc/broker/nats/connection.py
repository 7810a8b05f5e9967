"""The connection to NATS: the library nats-py, and what it leaves to its users.

- Requests that are under way when the connection is lost would wait for their timeouts: here they fail at once.
- A silent server would be noticed after minutes: here it is pinged every second.
- ``connect`` never returns while nobody answers: here it has a time limit.
- Some errors close the client for good: here another one is made, and subscribes to the same subjects.
- What is published meanwhile would be sent later: here it is refused.
- A server that is too old, or without TLS, would be used: here it is refused before anything is sent to it.
- Dropped live messages are reported once for each: here the log has one line.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from bcast_grpc.broker.base import CannotOpen
from bcast_grpc.broker.nats.client import CheckingClient, Refused
from bcast_grpc.broker.nats.requests import Lost, Requests, is_status

logger = logging.getLogger(__name__)

RESERVE_BYTES = 4096
"""Headers and subject count as payload for the server, and a message that is too large closes the connection."""

_PENDING_MESSAGES = 8192
_PENDING_BYTES = 16 * 1024 * 1024
_AGAIN_S = 0.25
_LONGEST_AGAIN_S = 4.0
_QUIET_S = 10.0

Take: TypeAlias = Callable[[Msg], None]


class TooLarge(Exception):
    """The message is larger than the NATS server takes. It was not sent."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where NATS is, and how to log in.

    Attributes:
        servers: ``nats://HOST:PORT`` or ``tls://HOST:PORT``, without credentials.
        login: further arguments of nats-py's ``connect``.
        demands_tls: whether a server without TLS is refused.
        patience_s: how long the first connection may take.
    """

    servers: Sequence[str]
    login: Mapping[str, Any] = field(default_factory=dict, repr=False)
    demands_tls: bool = False
    patience_s: float = 5.0

    @property
    def shown(self) -> str:
        """The addresses, for people."""
        return ", ".join(server.partition("://")[2] for server in self.servers)


class Connection:
    """A connection to NATS that is made again until ``close``. All callbacks come from the loop.

    Args:
        target: where to connect to.
        changed: called when the connection is lost, with why, and when it is there again, with an empty text. All
            subscriptions are in force then.

    Attributes:
        up: whether the connection is there.
    """

    def __init__(self, target: Target, changed: Callable[[str], None]) -> None:
        self.up = False
        self._target = target
        self._changed = changed
        self._client: Client | None = None
        self._closing = False
        self._error = ""
        self._takes: dict[str, Take] = {}
        self._subscriptions: dict[str, Any] = {}
        self._requests = Requests(self.publish)
        self._rebuilding: asyncio.Task[None] | None = None
        self._dropped_at = -_QUIET_S

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
            why = self._error or (str(error) if not isinstance(error, TimeoutError) else "it does not answer")
            raise CannotOpen(f"the NATS server at {self._target.shown} cannot be used: {why}") from None

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

    @property
    def max_bytes(self) -> int:
        """The largest payload that is sent."""
        return (self._client.max_payload if self._client else 0) - RESERVE_BYTES

    @property
    def is_clustered(self) -> bool:
        """Whether the server is one of a cluster."""
        return bool(self._client and self._client._server_info.get("cluster"))  # noqa: SLF001

    async def _connect(self) -> None:
        client = self._client = CheckingClient(self._target.demands_tls)
        await client.connect(
            list(self._target.servers),
            name="bcast_grpc",
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
            except (TimeoutError, OSError, errors.Error, Refused):
                client, self._client = self._client, None
                if client:
                    with suppress(OSError, errors.Error, TimeoutError):
                        await client.close()
                wait_s = min(2 * wait_s, _LONGEST_AGAIN_S)
            else:
                return

    async def _on_connected(self, client: Client) -> None:
        if client is not self._client or self._closing:
            return
        missing = {subject: take for subject, take in self._takes.items() if subject not in self._subscriptions}
        for subject, take in missing.items():
            await self._subscribe(client, subject, take)
        await client.flush(timeout=2)
        self._error = ""
        self.up = True
        self._changed("")

    async def _on_disconnected(self, client: Client) -> None:
        if client is self._client:
            self._lose()

    async def _on_closed(self, client: Client) -> None:
        if client is self._client and not self._closing and (not self._rebuilding or self._rebuilding.done()):
            self._rebuilding = asyncio.get_running_loop().create_task(self._rebuild())

    async def _on_error(self, error: Exception) -> None:
        if isinstance(error, errors.SlowConsumerError):
            now = asyncio.get_running_loop().time()
            if now - self._dropped_at > _QUIET_S:
                logger.warning(
                    "live messages of NATS were dropped: they came faster than they were taken; reading them"
                )
            self._dropped_at = now
        elif isinstance(error, errors.Error) or not self._error:  # what a server says tells more than that it hangs up
            self._error = str(error).removeprefix("nats: ") or type(error).__name__

    def _lose(self) -> None:
        self._requests.lose()
        up, self.up = self.up, False
        if up and not self._closing:
            self._changed(self._error or "the connection was lost")

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

    async def _subscribe(self, client: Client, subject: str, take: Take) -> None:
        self._subscriptions[subject] = await client.subscribe(
            subject,
            cb=partial(_pass_on, take),
            pending_msgs_limit=_PENDING_MESSAGES,
            pending_bytes_limit=_PENDING_BYTES,
        )

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
        return (await self._requests.ask(subject, data, timeout_s, headers))[0]

    async def collect(self, subject: str, data: bytes, timeout_s: float) -> list[Msg]:
        """Send a message, and return all answers up to the one with a ``Status``.

        Raises:
            Lost: they do not come.
        """
        return await self._requests.ask(subject, data, timeout_s, None, is_last=is_status)


class _Losing:
    """Raises ``Lost`` where nats-py has several errors for that."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, errors.Error | OSError | TimeoutError):
            raise Lost from error


async def _pass_on(take: Take, message: Msg) -> None:
    try:
        take(message)
    except Exception:
        logger.exception("internal error while taking a message of NATS")
