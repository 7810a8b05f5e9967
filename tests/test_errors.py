"""One family of errors, with the contract's codes."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from pathlib import Path

import pytest

from bcast_grpc import errors
from bcast_grpc.errors import BacklogFull, BcastError, CallError, ChatClosed, ConnectionLost, ErrorCode, RequestError

CONTRACT = [
    "EMPTY_MESSAGE",
    "MESSAGE_TOO_LARGE",
    "UNKNOWN_OPERATION",
    "RATE_LIMITED",
    "NAME_INVALID",
    "METADATA_INVALID",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "TOKEN_EXPIRED",
    "SERVER_FULL",
    "SLOW_CONSUMER",
    "REPLACED",
    "SHUTTING_DOWN",
    "BROKER_UNAVAILABLE",
    "INTERNAL",
    "MALFORMED",
]
RETRYABLE = {"RATE_LIMITED", "SERVER_FULL", "SLOW_CONSUMER", "SHUTTING_DOWN", "BROKER_UNAVAILABLE"}


def test_codes_are_those_of_the_contract() -> None:
    """1 to 16 in its order; 0 says nothing."""
    assert [(code.value, code.name) for code in ErrorCode] == list(enumerate(["UNSPECIFIED", *CONTRACT]))


@pytest.mark.parametrize("code", ErrorCode)
def test_a_code_says_whether_to_come_back(code: ErrorCode) -> None:
    """As in the contract's table; a new token is for a person to get."""
    assert code.retryable is (code.name in RETRYABLE)
    assert CallError(code, "why").retryable is (code.name in RETRYABLE)


def test_an_error_says_what_why_and_when() -> None:
    """The code for a program, the reason for a person, and how long to wait."""
    error = RequestError(ErrorCode.RATE_LIMITED, "too fast", retry_after_s=0.5)
    assert (error.code, error.reason, error.retry_after_s) == (ErrorCode.RATE_LIMITED, "too fast", 0.5)
    assert str(error) == "too fast (RATE_LIMITED)"
    assert CallError(ErrorCode.INTERNAL, "why").retry_after_s == 0


@pytest.mark.parametrize(
    ("error", "retryable"),
    [(ConnectionLost("gone"), True), (ChatClosed("gone"), False), (BacklogFull("gone"), True)],
)
def test_errors_of_the_client_alone_have_no_code(error: BcastError, retryable: bool) -> None:
    """They say only why, and whether another try can help."""
    assert (error.code, str(error), error.retryable) == (ErrorCode.UNSPECIFIED, "gone", retryable)


@pytest.mark.parametrize(
    "error", [CallError(ErrorCode.RATE_LIMITED, "why", retry_after_s=2), ConnectionLost("gone"), BacklogFull("full")]
)
def test_errors_can_be_copied_and_pickled(error: BcastError) -> None:
    """They cross from one process to another, and keep what they say."""
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is type(error)
        assert (again.code, again.reason, again.retry_after_s) == (error.code, error.reason, error.retry_after_s)


def test_the_family_is_as_it_is_drawn() -> None:
    """The tree in the module's docstring names every class, and each is a direct child of the root."""
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__ or "")
    classes = [
        name
        for name, value in inspect.getmembers(errors, inspect.isclass)
        if issubclass(value, BcastError) and value is not BcastError
    ]
    assert sorted(drawn) == classes
    assert all(getattr(errors, name).__bases__ == (BcastError,) for name in drawn)


def test_codes_are_documented() -> None:
    """The project's protocol page lists every code with its number."""
    page = (Path(__file__).parent.parent / "docs" / "protocol.md").read_text()
    for code in ErrorCode:
        if code:
            assert f"| {code.value} | `{code.name}` |" in page
