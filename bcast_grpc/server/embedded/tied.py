"""Becomes another program that ends when the process that started this one ends, even by SIGKILL (on Linux).

It is run as a file: ``python tied.py PID PROGRAM ARGUMENTS``, where PID is the process that started it.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the program."""
    starter, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(starter):  # it has ended already
            return
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
