"""Keys from a URL, fetched again when they may have changed."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from bcast_grpc.auth.faults import Unusable
from bcast_grpc.auth.keys import Key, parse_jwks

logger = logging.getLogger(__name__)

MAX_AGE_S = 3600.0
LEAST_PAUSE_S = 10.0
"""The shortest time between two attempts to fetch."""

TIMEOUT_S = 10.0
MAX_BYTES = 1024 * 1024

_MAX_AGE = re.compile(r"(?:^|,)\s*max-age\s*=\s*\"?(\d{1,9})", re.IGNORECASE)
_NOT_KEPT = re.compile(r"(?:^|,)\s*(?:no-store|no-cache)\b", re.IGNORECASE)


class Fetched(NamedTuple):
    """What a URL returned: the body, and its ``Cache-Control``."""

    body: bytes
    cache_control: str


class RemoteKeys:
    """The keys at a JWKS URL. While it cannot be fetched, the last good ones stay in force.

    Args:
        url: begins with ``https://``.
        time: returns seconds on a clock that never goes back.
        fetch: fetches a URL; raises ``OSError`` or ``TimeoutError`` if that fails.
    """

    def __init__(
        self, url: str, time: Callable[[], float], fetch: Callable[[str], Awaitable[Fetched]] | None = None
    ) -> None:
        self.url = url
        self._time = time
        self._fetch = fetch or fetch_url
        self._keys: Sequence[Key] = ()
        self._stale_at = 0.0
        self._next_at = 0.0
        self._failing = False
        self._fetching: asyncio.Task[None] | None = None

    async def keys(self, *, others: bool = False) -> Sequence[Key]:
        """Return the keys, and fetch them first if they are outdated; none if that has never succeeded.

        While fetching fails, only callers that would get no keys at all wait for it: each attempt may take long.

        Args:
            others: whether the caller has other keys, too.
        """
        if self.outdated:
            self._begin()
            if not (self._failing and (self._keys or others)):
                await self._fetched()
        return self._keys

    async def refetch(self) -> None:
        """Fetch the keys, unless that was tried a moment ago. Concurrent callers wait for the same answer."""
        self._begin()
        await self._fetched()

    @property
    def at_hand(self) -> Sequence[Key]:
        """The keys that were fetched last."""
        return self._keys

    @property
    def outdated(self) -> bool:
        """Whether the keys are to be fetched before a token is verified."""
        return self._time() >= self._stale_at

    @property
    def refetchable(self) -> bool:
        """Whether ``refetch`` would bring other keys: they are being fetched, or were not a moment ago."""
        return self._fetching is not None or self._time() >= self._next_at

    def expire(self) -> None:
        """Fetch the keys again before the next token is verified."""
        self._stale_at = 0.0

    async def close(self) -> None:
        """Stop fetching."""
        if self._fetching:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _begin(self) -> None:
        if self._fetching is None and self._time() >= self._next_at:
            self._fetching = asyncio.create_task(self._take())

    async def _fetched(self) -> None:
        if self._fetching:
            await asyncio.shield(self._fetching)

    async def _take(self) -> None:
        try:
            fetched = await self._fetch(self.url)
            self._keys = parse_jwks(self.url, fetched.body, with_secrets=False)
            self._stale_at = self._time() + max(LEAST_PAUSE_S, _age_s(fetched.cache_control))
            self._failing = False
        except (OSError, TimeoutError, Unusable) as error:
            self._failing = True
            state = f"the last {len(self._keys)} keys stay in force" if self._keys else "there are no keys yet"
            logger.warning("token-keys: cannot fetch %s: %s; %s", self.url, str(error) or "it took too long", state)
        finally:
            self._next_at = self._time() + LEAST_PAUSE_S
            self._fetching = None


def _age_s(cache_control: str) -> float:
    """Return how long an answer may be kept."""
    if _NOT_KEPT.search(cache_control):
        return 0.0
    found = _MAX_AGE.search(cache_control)
    return min(float(found[1]), MAX_AGE_S) if found else MAX_AGE_S


async def fetch_url(url: str) -> Fetched:
    """Fetch a URL, without redirects or unpacking. The system's roots are trusted, and those in ``SSL_CERT_FILE``.

    Raises:
        OSError: the URL cannot be fetched.
        TimeoutError: it took too long.
    """
    import aiohttp  # importing it takes a third of the server's start

    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context())
    try:
        async with (
            aiohttp.ClientSession(
                timeout=timeout, connector=connector, trust_env=True, auto_decompress=False
            ) as session,
            session.get(url, allow_redirects=False, headers={"Accept-Encoding": "identity"}) as response,
        ):
            if response.status != 200:
                raise OSError(f"HTTP status {response.status}")
            body = await response.content.read(MAX_BYTES + 1)
            while len(body) <= MAX_BYTES and (more := await response.content.read(MAX_BYTES)):
                body += more
            if len(body) > MAX_BYTES:
                raise OSError(f"the answer is larger than {MAX_BYTES} bytes")
            return Fetched(body, response.headers.get("cache-control", ""))
    except aiohttp.ClientError as error:
        raise OSError(str(error) or type(error).__name__) from None
