"""``python -m bcast_grpc.store``."""

from __future__ import annotations

import signal
import sys

from bcast_grpc.store.cli import run


def main() -> int:
    """Run the program; return the exit code."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as in ``bcast-store info chat.db | head``
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
