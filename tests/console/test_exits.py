"""A script learns from the exit code why a program ended."""

from __future__ import annotations

from bcast_grpc.console.exits import exit_code
from bcast_grpc.errors import CallError, ConnectionLost, ErrorCode


def test_each_end_has_an_exit_code() -> None:
    """2 for what does not fit, 77 for who is not let in, 69 for all else."""
    codes = {code: exit_code(CallError(code, "why")) for code in ErrorCode}
    assert {code for code, number in codes.items() if number == 2} == {
        ErrorCode.NAME_INVALID,
        ErrorCode.METADATA_INVALID,
    }
    assert {code for code, number in codes.items() if number == 77} == {
        ErrorCode.UNAUTHENTICATED,
        ErrorCode.PERMISSION_DENIED,
        ErrorCode.TOKEN_EXPIRED,
    }
    assert set(codes.values()) == {2, 69, 77}
    assert exit_code(ConnectionLost("why")) == 69
