"""How a program ends: its exit code, and the line on stderr that says what went wrong."""

from __future__ import annotations

import sys

from bcast_grpc.console.safe_text import shown
from bcast_grpc.errors import BcastError, ErrorCode

EXIT_DONE = 0
EXIT_NOT_ALL = 1
EXIT_USAGE = 2
EXIT_LOST = 69
EXIT_NOT_LET_IN = 77
EXIT_HUNG_UP = 129
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141
EXIT_TERMINATED = 143

_EXITS = {
    ErrorCode.NAME_INVALID: EXIT_USAGE,
    ErrorCode.METADATA_INVALID: EXIT_USAGE,
    ErrorCode.UNAUTHENTICATED: EXIT_NOT_LET_IN,
    ErrorCode.PERMISSION_DENIED: EXIT_NOT_LET_IN,
    ErrorCode.TOKEN_EXPIRED: EXIT_NOT_LET_IN,
}


def exit_code(error: BcastError) -> int:
    """The exit code for a call that ended with this error."""
    return _EXITS.get(error.code, EXIT_LOST)


def complain(program: str, text: str) -> None:
    """Write to stderr, in one line, what went wrong."""
    print(f"{program}: {shown(text)}", file=sys.stderr, flush=True)
