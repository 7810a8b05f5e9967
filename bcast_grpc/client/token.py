"""The token that a client presents: a constant, or fetched anew for each call and each renewal."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable
from os import PathLike, fspath
from pathlib import Path
from typing import TypeAlias, cast

from bcast_grpc.errors import BcastError, CallError, ErrorCode

Token: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""A token, or a function that returns one, which may be ``async``."""

_TOKEN = re.compile(r"[!-~]*")


def check_token(token: str) -> str:
    """Return the token, which may be empty.

    Raises:
        ValueError: it cannot be sent. The text does not contain the token.
    """
    if not _TOKEN.fullmatch(token):
        raise ValueError("token: must be printable ASCII characters without spaces")
    return token


class TokenFile:
    """Reads the token from a file, which something else renews: ``connect(token=TokenFile("/run/secrets/token"))``.

    Args:
        path: the file; white space around the token is ignored.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = fspath(path)

    def __call__(self) -> str:
        """Read the token.

        Raises:
            CallError: the file cannot be read, or contains no token; the text names the file.
        """
        try:
            token = Path(self._path).read_text(encoding="ascii").strip()
        except OSError as error:
            raise self._fault(f"cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            token = " "
        if not token or not _TOKEN.fullmatch(token):
            raise self._fault("must contain one token, of printable ASCII characters without spaces") from None
        return token

    def __repr__(self) -> str:
        return f"TokenFile({self._path!r})"

    def _fault(self, why: str) -> CallError:
        return CallError(ErrorCode.UNAUTHENTICATED, f"token file {self._path}: {why}", retryable=True)


class Tokens:
    """The tokens of one chat, over all of its calls. No text of this library contains them.

    Args:
        source: as for ``connect()``.
        timeout_s: how long the source may take.

    Raises:
        ValueError: the token cannot be sent.
    """

    def __init__(self, source: Token, timeout_s: float) -> None:
        self._source = source if callable(source) else check_token(source)
        self._timeout_s = timeout_s
        self._current = ""
        self._offered = ""
        self._expired = ""

    @property
    def renewable(self) -> bool:
        """Whether there may be a new one."""
        return callable(self._source)

    def renewed(self) -> None:
        """Note that the server accepted the one from ``fetch_new``."""
        self._current = self._offered

    def expired(self) -> None:
        """Note that the current one has expired."""
        self._expired = self._current

    async def fetch(self) -> str:
        """Return the token to present now; empty if there is none.

        Raises:
            CallError: there is none that would be accepted; trying again later may help.
        """
        token = await self._read()
        if token and token == self._expired:
            raise CallError(ErrorCode.TOKEN_EXPIRED, "the token has expired, and there is no new one yet")
        self._current = self._offered = token
        return token

    async def fetch_new(self) -> str:
        """Return a token that the server has not seen; empty if there is none yet.

        Raises:
            CallError: it cannot be fetched; trying again later may help.
        """
        token = await self._read()
        if token in (self._current, self._offered):
            return ""
        self._offered = token
        return token

    async def _read(self) -> str:
        if not callable(self._source):
            return self._source
        try:
            async with asyncio.timeout(self._timeout_s):
                token: object = await _call(self._source)
        except BcastError:
            raise
        except TimeoutError:
            raise _unavailable(f"the function that returns it took more than {self._timeout_s:g} s") from None
        except Exception as error:
            # Its text is not repeated, because it may contain a token. The cause has it.
            raise _unavailable(f"the function that returns it raised {type(error).__name__}") from error
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise _unavailable("the function must return a string of printable ASCII characters without spaces")
        return token


async def _call(source: Callable[[], str | Awaitable[str]]) -> object:
    """Call a function in a thread, where it may wait, unless it is ``async``."""
    found: object = source() if inspect.iscoroutinefunction(source) else await asyncio.to_thread(source)
    return await cast("Awaitable[object]", found) if inspect.isawaitable(found) else found


def _unavailable(why: str) -> CallError:
    return CallError(ErrorCode.UNAUTHENTICATED, f"there is no token: {why}", retryable=True)
