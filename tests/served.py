"""A server in a process of its own, for tests that have no event loop when it starts."""

from __future__ import annotations

import os
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import Self

from tests.forked import Program

_TIMEOUT_S = 60


class Server:
    """``python -m bcast_grpc.server`` in a process of its own. At the end of a ``with`` block it is stopped.

    Attributes:
        process: the process.
        target: where clients connect to.
    """

    def __init__(self, *arguments: str) -> None:
        reading, writing = os.pipe()
        with Path(os.devnull).open() as nothing, os.fdopen(writing, "w") as output:
            descriptors = (nothing.fileno(), output.fileno(), 2)
            self.process = Program("bcast_grpc.server", "--port", "0", *arguments, descriptors=descriptors)
        self._said = os.fdopen(reading)
        self.target = self._said.readline().strip().removeprefix("listening on grpc://")

    def end(self, number: Signals = SIGKILL) -> None:
        """Send it a signal, and wait until it has ended."""
        self.process.send_signal(number)
        self.process.wait(_TIMEOUT_S)
        self._said.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end(SIGTERM)  # so that its coverage is written
