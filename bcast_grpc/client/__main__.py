"""``python -m bcast_grpc.client``, the terminal program."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run the terminal client.

    Returns:
        The exit code.
    """
    # gRPC's own log is of no use to users, and stderr is for our lines. gRPC reads this only when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from bcast_grpc.terminal.arguments import parse
    from bcast_grpc.terminal.run import run

    options = parse(
        sys.argv[1:],
        os.environ,
        stdin_tty=sys.stdin is not None and sys.stdin.isatty(),
        stdout_tty=sys.stdout is not None and sys.stdout.isatty(),
    )
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
