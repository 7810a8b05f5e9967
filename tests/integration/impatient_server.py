"""A server that takes a program for hanging sooner than others do. It is run as a program."""

import sys

from bcast_grpc.server import processes
from bcast_grpc.server.__main__ import main

if __name__ == "__main__":
    processes.HANGS_S = 4.0
    sys.exit(main())
