"""Reads files again while the server runs: when one has changed, and on SIGHUP."""

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
"""How often the files are checked for changes."""

SETTLE_S = 0.5
"""So long the files must stay as they are before they are read because they have changed: one may be half written."""


class Reloadable(Protocol):
    """Something that is made from files."""

    @property
    def files(self) -> Sequence[Path]:
        """The files that it is made from."""
        ...

    def read(self) -> Callable[[], str]:
        """Read the files, in a thread. Nothing changes yet.

        Returns:
            A function that puts them in force. It is called in the event loop, and returns what is in force then, in
            words.

        Raises:
            CannotStart: a file cannot be used; the text names the setting and the file, and says what is wrong.
        """
        ...


class Reload:
    """Reloads all files together: if one of them cannot be used, nothing changes.

    Args:
        parts: what is made from files.
    """

    def __init__(self, parts: Sequence[Reloadable]) -> None:
        self._parts = parts
        self._seen = self._look()
        self._reading = asyncio.Lock()
        self._asked: asyncio.Task[bool] | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to reload."""
        return bool(self._parts)

    async def reload(self) -> bool:
        """Read all files; return whether they are in force now. The log says what is in force, or what was wrong."""
        async with self._reading:
            return await self._reload()

    def soon(self) -> None:
        """Start to reload, without waiting."""
        self._asked = asyncio.create_task(self.reload())

    def stop(self) -> None:
        """Stop reloading."""
        if self._asked:
            self._asked.cancel()

    async def watch(self) -> None:
        """Reload whenever the content of a file has changed."""
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
            logger.warning("not reloaded, so the previous files stay in force: %s", error)
            return False
        except Exception:  # or nothing would be reloaded any more, and nobody's rights be taken away
            logger.exception("not reloaded, what was in force stays so")
            return False
        for use in uses:
            logger.info("reloaded: %s", use())
        return True

    def _read(self) -> Sequence[Callable[[], str]]:
        self._seen = self._look()  # first, so that a change during the reading is noticed next time
        return [part.read() for part in self._parts]

    def _look(self) -> Sequence[bytes]:
        """Return a digest of each file."""
        return [_digest(file) for part in self._parts for file in part.files]


def _digest(file: Path) -> bytes:
    try:
        return sha256(file.read_bytes()).digest() if file.is_file() else b""
    except OSError:
        return b""
