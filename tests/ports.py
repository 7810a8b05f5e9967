"""Ports of this machine for servers that go down and come again at the same place."""

from __future__ import annotations

import atexit
import secrets
import socket
from typing import Self

_NUMBERS = range(12_000, 32_000)
"""Below those that Linux gives to whoever asks for any port, which are from 32768 on."""


class ReservedPort:
    """One that nobody uses, and that nobody takes while who listens there is down.

    No connection and no server at port 0 gets it, and no process gets it from here: until it is closed, the UDP port of
    the same number is held.

    Attributes:
        number: the port.
    """

    def __init__(self) -> None:
        while not self._take(_NUMBERS.start + secrets.randbelow(len(_NUMBERS))):
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Anybody may have it."""
        self._held.close()

    def _take(self, number: int) -> bool:
        held = socket.socket(type=socket.SOCK_DGRAM)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                held.bind(("127.0.0.1", number))
                probe.bind(("127.0.0.1", number))
            except OSError:
                held.close()
                return False
        self.number, self._held = number, held
        return True


def free_port() -> int:
    """Return one that is reserved until this process ends."""
    port = ReservedPort()
    atexit.register(port.close)
    return port.number
