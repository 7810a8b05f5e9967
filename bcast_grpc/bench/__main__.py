"""``python -m bcast_grpc.bench``."""

from __future__ import annotations

import os
import sys

from bcast_grpc.bench.arguments import parse
from bcast_grpc.bench.run import run


def main() -> int:
    """Run the bench.

    Returns:
        The exit code.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's own log is of no use to users; the workers inherit this
    return run(parse(sys.argv[1:], os.environ))


if __name__ == "__main__":
    sys.exit(main())
