"""What the programs that tests start inherit from the process that runs the tests."""

from __future__ import annotations

import os
import signal


def prepare() -> None:
    """Let programs begin as they would from a terminal, whoever started the tests, with the settings' defaults.

    A shell has what it starts in the background ignore SIGINT and SIGQUIT, ``nohup`` ignores SIGHUP, and who ignores a
    signal hands that on. Who catches it does not: what it starts gets the default.
    """
    for name in [name for name in os.environ if name.startswith("BCAST_")]:
        del os.environ[name]
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # its handlers run between fork and exec, and crash there
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _go_on)


def _go_on(*_: object) -> None:
    """Ignore a signal oneself."""
