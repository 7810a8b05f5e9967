"""The callers of ``flush()``, each of whom waits for the posts before it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass


@dataclass(slots=True)
class _Flush:
    """A caller waits for the posts up to number ``last``; ``missing`` of them have no answer."""

    last: int
    missing: int
    done: asyncio.Future[None]


class Flushes:
    """Counts the answers that callers of ``flush()`` wait for."""

    def __init__(self) -> None:
        self._flushes: list[_Flush] = []

    def begin(self, last: int, missing: int) -> asyncio.Future[None]:
        """Return a future that is done once the posts up to number ``last`` are answered; ``missing`` are not yet."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if missing:
            self._flushes.append(_Flush(last, missing, done))
        else:
            done.set_result(None)
        return done

    def answered(self, number: int) -> None:
        """Note the answer to the post of that number."""
        for flush in self._flushes:
            if number <= flush.last:
                flush.missing -= 1
                if not flush.missing and not flush.done.done():
                    flush.done.set_result(None)
        if self._flushes:
            self._flushes = [flush for flush in self._flushes if flush.missing]

    def clear(self) -> list[asyncio.Future[None]]:
        """Stop counting, and return the futures of all callers that wait."""
        flushes, self._flushes = self._flushes, []
        return [flush.done for flush in flushes]
