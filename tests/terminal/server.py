"""A server in a process of its own, for the terminal program to connect to."""

from __future__ import annotations

import signal
import subprocess
import sys

_TIMEOUT_S = 60


class Server:
    """``python -m bcast_grpc.server`` in a process of its own.

    Attributes:
        target: where clients connect to.
    """

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "bcast_grpc.server", "--port", "0", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout
        self.target = self.process.stdout.readline().decode().strip().removeprefix("listening on grpc://")

    def end(self, number: signal.Signals) -> None:
        """Send it a signal, and wait until it has ended; do nothing if it has ended before."""
        if self.process.returncode is None:
            self.process.send_signal(number)
            self.process.communicate(timeout=_TIMEOUT_S)
