"""File descriptors: raises the limit as far as the system allows, and keeps a reserve from new clients."""

from __future__ import annotations

import logging
import os
import resource
from pathlib import Path

logger = logging.getLogger(__name__)

BESIDES = 64
"""How many files and sockets a server needs besides those of clients."""

_DOORS = 16
"""How many of those are opened after the process has started, for the doors."""

_LEAST_RESERVE, _MOST_RESERVE = 16, 64
_OPEN_FILES = Path("/proc/self/fd")


def raise_limit() -> None:
    """Raise the soft limit of this process to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:  # macOS has a lower bound that the hard limit does not show
        logger.debug("the limit of open files cannot be raised from %d: %s", soft, error)
    else:
        logger.debug("the limit of open files is %d; it was %d", hard, soft)


class Descriptors:
    """Knows how many descriptors are free, and keeps a reserve for health checks and for refusing clients.

    Attributes:
        limit: how many descriptors this process may have.
    """

    def __init__(self) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.limit = 2**31 - 1 if soft == resource.RLIM_INFINITY else soft
        self._reserve = min(_MOST_RESERVE, max(_LEAST_RESERVE, self.limit // 6))
        self._clients = max(1, self.limit - _lowest_free() - _DOORS - self._reserve)
        self._short = False

    @property
    def connections(self) -> int:
        """How many connections a door may have: those of all clients, and most of the reserve."""
        return self._clients + self._reserve * 3 // 4

    @property
    def short(self) -> bool:
        """Whether fewer descriptors are free than the reserve."""
        return not _are_free(self._reserve)

    @property
    def crowded(self) -> bool:
        """Whether so few descriptors are free that no connection should be accepted."""
        return not _are_free(self._reserve // 4)

    def why_full(self, clients: int) -> str:
        """Return why there is no room for another client; an empty text if there is. Each change is logged once.

        A client is refused only if there are many clients and few free descriptors: several clients may share a
        connection, and idle connections are closed before any client is refused.
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
                logger.info("new clients are accepted again: files can be opened")
        return "the server has almost as many files open as the system allows; try again later" if short else ""

    def warn(self, max_clients: int) -> None:
        """Warn if the limit is too low for so many clients, and say how to raise it."""
        if self.limit >= max_clients:  # slightly too low is acceptable: those clients are refused with a reason
            return
        needed = max_clients + BESIDES
        logger.warning(
            "max-clients is %d, but this process may open only %d files, and each connection is one: "
            "run `ulimit -n %d` first, set LimitNOFILE=%d in the systemd unit, or set a lower --max-clients",
            max_clients, self.limit, needed, needed,
        )  # fmt: skip


def _lowest_free() -> int:
    """Return the lowest free descriptor, which at start is the number of open ones."""
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    return lowest


def _are_free(count: int) -> bool:
    """Return whether so many can be opened."""
    are_open = _count_open()
    if are_open is None:
        return _can_be_opened(count)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft == resource.RLIM_INFINITY or soft - are_open >= count


def _count_open() -> int | None:
    """Return how many are open; None if the system does not tell, as only Linux does since 6.2."""
    try:
        return _OPEN_FILES.stat().st_size or None
    except OSError:
        return None


def _can_be_opened(count: int) -> bool:
    """Return whether so many can be opened, by trying. Cost: O(count), half a microsecond each."""
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
