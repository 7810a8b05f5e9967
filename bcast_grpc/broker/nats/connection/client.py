"""A client of nats-py that looks at a server before it logs in to it."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any, TypeAlias

from nats import errors
from nats.aio.client import Client, Srv
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from bcast_grpc.broker.nats.connection.servers import Servers
from bcast_grpc.broker.nats.connection.versions import OLDEST, version_of

logger = logging.getLogger(__name__)

Take: TypeAlias = Callable[[Msg], None]

_MOST_UNSENT = 64 * 1024
_LOGIN_REFUSED = ("authorization violation", "authentication expired", "authentication revoked")
_CUT_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


class Unusable(errors.Error):
    """A server that cannot be used before somebody has changed something."""


class Refused(Exception):
    """All servers are unusable, so waiting for them is of no use."""


class CheckingClient(Client):
    """Looks at what a server says about itself before it logs in to it, and closes what it opens.

    A subscription of nats-py has a task and a queue, some 5 KB: here messages are taken where they are read.

    Args:
        servers: says which of them is tried next.
        demands_tls: whether a server without TLS is refused.
        least_bytes: a server whose ``max_payload`` is smaller is refused.
    """

    def __init__(self, servers: Servers, demands_tls: bool, least_bytes: int) -> None:
        super().__init__()
        self._ranks = servers
        self._demands_tls = demands_tls
        self._least_bytes = least_bytes
        self._welcome = False
        self._unusable: set[str] = set()

    def keep(self) -> None:
        """Remember that the server in use is of use, and which ones come next if it is lost."""
        if self._current_server:
            self._ranks.found(self._current_server.uri.netloc)
            self._ranks.arrange(self._server_pool, self._current_server)

    def leave(self) -> None:
        """Remember that the server in use is of no use."""
        if self._current_server:
            self._ranks.tried(self._current_server.uri.netloc)

    def _setup_server_pool(self, connect_url: list[str]) -> None:
        super()._setup_server_pool(connect_url)
        self._ranks.arrange(self._server_pool, None)

    async def _connect_to_server(self, s: Srv) -> None:
        if self.is_closed and asyncio.current_task() is self._reconnection_task:
            # The attempt that `close` cancelled went on: it failed in the same moment.
            raise asyncio.CancelledError
        if self._transport:  # of an attempt that failed after the connection was made: nobody else closes it
            self._transport.close()  # type: ignore[no-untyped-call]
        self._ranks.tried(s.uri.netloc)
        await super()._connect_to_server(s)

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
        except (errors.Error, ssl.SSLError) as error:
            if not (why := _final(error)):
                raise
            if self._current_server:
                self._unusable.add(self._current_server.uri.netloc)
            given = [server for server in self._server_pool if not server.discovered]
            if not self._welcome and all(server.uri.netloc in self._unusable for server in given):
                raise Refused(why) from error
            raise Unusable(why) from error
        self._welcome = True

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection:
            if version_of(str(info.get("version"))) < OLDEST:
                oldest = ".".join(map(str, OLDEST))
                raise Unusable(f"it is NATS {info.get('version')}, and must be {oldest} or later")
            if self._demands_tls and not info.get("tls_required"):
                raise Unusable("it does not offer TLS, which tls:// demands")
            if int(info.get("max_payload", 0)) < self._least_bytes:
                raise Unusable(
                    f"its max_payload is {info.get('max_payload')}, and must be at least {self._least_bytes}:"
                    " raise it, or lower max-message-bytes"
                )
        await super()._process_info(info, initial_connection)
        self._ranks.told(self._server_pool, info.get("connect_urls") or ())
        if not initial_connection:
            self._ranks.arrange(self._server_pool, self._current_server)

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        """Write at once: the library leaves that to a task, whose turn comes when the loop has done all that waits."""
        transport: Any = self._transport
        if force_flush or not self.is_connected or _unsent(transport) > _MOST_UNSENT:
            return await super()._flush_pending(force_flush)
        try:
            transport.writelines(self._pending)
        except (OSError, RuntimeError):  # of a closed transport; the library's task sees what that means
            return await super()._flush_pending()
        self._pending = []
        self._pending_data_size = 0
        return None

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        try:
            await super()._close(status, do_cbs)
        except (
            OSError,
            RuntimeError,
        ):  # of a closed transport: the rest cannot be written, and all else is to be closed
            self._pending = []
            self._pending_data_size = 0
            self._status = Client.DISCONNECTED
            await super()._close(status, do_cbs)

    async def take_from(self, subject: str, take: Take) -> Subscription:
        """Call ``take`` with each message of a subject."""
        subscription = await self.subscribe(subject, future=_Taking(take))  # type: ignore[arg-type]
        subscription._pending_queue = None  # type: ignore[assignment]  # noqa: SLF001  # never used, and takes 2 KB
        return subscription


class _Taking:
    """What nats-py takes for a future: it gives each message of a subscription to it at once."""

    __slots__ = ("_take",)

    def __init__(self, take: Take) -> None:
        self._take = take

    def cancelled(self) -> bool:
        return False

    def set_result(self, message: Msg) -> None:
        try:
            self._take(message)
        except Exception:
            logger.exception("internal error while taking a message of NATS")


def _unsent(transport: Any) -> int:
    """Return how many bytes were written that the server has not taken."""
    return int(transport._io_writer.transport.get_write_buffer_size())  # noqa: SLF001


def _final(error: Exception) -> str:
    """Return why a server refuses this client, or this client the server; empty if another attempt may succeed."""
    match error:
        case Unusable():
            return str(error)
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message} (store-ca names who must have signed it)"
        case ssl.SSLError() if not isinstance(error, _CUT_OFF):
            return f"TLS fails: {(error.reason or str(error)).replace('_', ' ').lower()}"
        case errors.Error() if any(word in str(error).lower() for word in _LOGIN_REFUSED):
            return f"it refuses the login: {str(error).removeprefix('nats: ')}"
    return ""
