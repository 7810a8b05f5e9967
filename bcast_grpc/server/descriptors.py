"""File descriptors: as many as the system allows, with a reserve that new clients may not use."""

from __future__ import annotations

import logging
import os
import resource
from pathlib import Path

logger = logging.getLogger(__name__)

BESIDES = 64
"""How many files and sockets there are besides those of clients."""

_DOORS = 16
"""How many of those are opened after the process has started."""

_LEAST_RESERVE, _MOST_RESERVE = 16, 64
_OPEN_FILES = Path("/proc/self/fd")


def raise_limit() -> None:
    """Raise the soft limit of this process to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:  # macOS has another bound beneath
        logger.debug("the limit of open files cannot be raised from %d: %s", soft, error)
    else:
        logger.debug("the limit of open files is %d; it was %d", hard, soft)


class Descriptors:
    """Knows how many descriptors are free, and keeps a reserve, so that health checks and refusals get through.

    Attributes:
        limit: how many this process may have.
    """

    def __init__(self) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.limit = 2**31 - 1 if soft == resource.RLIM_INFINITY else soft
        self._reserve = min(_MOST_RESERVE, max(_LEAST_RESERVE, self.limit // 6))
        self._clients = max(1, self.limit - _lowest_free() - _DOORS - self._reserve)
        self._short = False

    @property
    def connections(self) -> int:
        """How many connections a door may have: all clients, and those who use the reserve for a moment."""
        return self._clients + self._reserve * 3 // 4

    @property
    def short(self) -> bool:
        """Whether the reserve is touched."""
        return not _are_free(self._reserve)

    @property
    def crowded(self) -> bool:
        """Whether not even a connection should be accepted."""
        return not _are_free(self._reserve // 4)

    def why_full(self, clients: int) -> str:
        """Return why no further client fits; an empty text if one does. Each change is logged once.

        Both must hold: so many clients, and few free descriptors. Several clients may share a connection, and idle
        connections are closed before anyone is refused.
        """
        short = clients >= self._clients and self.short
        if short is not self._short:
            self._short = short
            if short:
                logger.warning(
                    "new clients are refused: almost all of the %d files that this process may open are open",
                    self.limit,
                )
            else:
                logger.info("files can be opened again: new clients are accepted")
        return "the server has almost as many files open as the system allows; try again later" if short else ""

    def warn(self, max_clients: int) -> None:
        """Warn if so many clients do not fit, and say how to raise the limit."""
        if self.limit >= max_clients:  # a client that does not fit is refused with a reason
            return
        needed = max_clients + BESIDES
        logger.warning(
            "max-clients is %d, but this process may open only %d files, and each connection is one: "
            "run `ulimit -n %d` first, set LimitNOFILE=%d in the systemd unit, or set a lower --max-clients",
            max_clients, self.limit, needed, needed,
        )  # fmt: skip


def _lowest_free() -> int:
    """Return how many descriptors are open, where none before the last has been closed."""
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    return lowest


def _are_free(count: int) -> bool:
    """Say whether so many can be opened."""
    are_open = _count_open()
    if are_open is None:
        return _can_be_opened(count)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft == resource.RLIM_INFINITY or soft - are_open >= count


def _count_open() -> int | None:
    """Return how many are open, which Linux knows since 6.2; None elsewhere."""
    try:
        return _OPEN_FILES.stat().st_size or None
    except OSError:
        return None


def _can_be_opened(count: int) -> bool:
    """Say whether so many can be opened, by trying. Cost: O(count), half a microsecond each."""
    opened: list[int] = []
    try:
        opened.append(os.open(os.devnull, os.O_RDONLY))
        while len(opened) < count:
            opened.append(os.dup(opened[0]))
    except OSError:
        return False
    finally:
        for one in opened:
            os.close(one)
    return True
