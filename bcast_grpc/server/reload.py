"""Files that are read again while the server runs: when one has changed, and on SIGHUP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from bcast_grpc.transport.address import CannotStart

logger = logging.getLogger(__name__)

LOOK_S = 3.0
"""How often it is looked whether a file has changed."""

SETTLE_S = 0.5
"""So long the files must stay as they are before they are read because they have changed: one may be half written."""


class Reloadable(Protocol):
    """Something that is made of files."""

    @property
    def files(self) -> Sequence[Path]:
        """The files that it is made of."""
        ...

    def read(self) -> Callable[[], str]:
        """Read the files, in a thread. Nothing changes yet.

        Returns:
            What puts them in force, in the event loop, and returns a line that says what that is.

        Raises:
            CannotStart: a file is not what it should be; the text names the setting, the file and the fault.
        """
        ...


class Reload:
    """Reads all files anew, or changes nothing: what was in force before a fault stays in force.

    Args:
        parts: what is made of files.
    """

    def __init__(self, parts: Sequence[Reloadable]) -> None:
        self._parts = parts
        self._seen = self._look()
        self._reading = asyncio.Lock()
        self._asked: asyncio.Task[bool] | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to read again."""
        return bool(self._parts)

    async def reload(self) -> bool:
        """Read all files; return whether that is in force now. The log says it, or why not."""
        async with self._reading:
            return await self._reload()

    def soon(self) -> None:
        """Reload, without waiting for it."""
        self._asked = asyncio.create_task(self.reload())

    def stop(self) -> None:
        """Reload nothing more."""
        if self._asked:
            self._asked.cancel()

    async def watch(self) -> None:
        """Reload whenever a file has other content than before."""
        while self._parts:
            await asyncio.sleep(LOOK_S)
            if await self._has_changed():
                await self.reload()

    async def _has_changed(self) -> bool:
        found = await asyncio.to_thread(self._look)
        if found == self._seen:
            return False
        await asyncio.sleep(SETTLE_S)
        return await asyncio.to_thread(self._look) == found

    async def _reload(self) -> bool:
        try:
            uses = await asyncio.to_thread(self._read)
        except CannotStart as error:
            logger.warning("not reloaded, what was in force stays so: %s", error)
            return False
        except Exception:  # or nothing would be reloaded any more, and nobody's rights be taken away
            logger.exception("not reloaded, what was in force stays so")
            return False
        for use in uses:
            logger.info("reloaded: %s", use())
        return True

    def _read(self) -> Sequence[Callable[[], str]]:
        self._seen = self._look()  # first: what changes from now on is seen the next time
        return [part.read() for part in self._parts]

    def _look(self) -> Sequence[bytes]:
        """Return what tells one content of all files from another."""
        return [_digest(file) for part in self._parts for file in part.files]


def _digest(file: Path) -> bytes:
    try:
        return sha256(file.read_bytes()).digest() if file.is_file() else b""
    except OSError:
        return b""
