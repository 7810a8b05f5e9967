"""The token in an ``authorization`` header."""

from __future__ import annotations

import pytest

from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.transport.bearer import bearer_token


@pytest.mark.parametrize(
    ("values", "token"),
    [
        ([], ""),
        (["Bearer x.y.z"], "x.y.z"),
        ([" bearer  x.y.z "], "x.y.z"),
        (["Basic YW5hOnNlY3JldA=="], ""),
        (["Basic YW5hOnNlY3JldA==", "Bearer x"], "x"),
        (['Digest username="ana", realm="x"'], ""),
    ],
)
def test_one_token_is_found(values: list[str], token: str) -> None:
    """Also beside what a browser sends for a proxy in front of the server."""
    assert bearer_token(values) == token


@pytest.mark.parametrize(
    "values", [["x.y.z"], ["Bearer"], ["Bearer "], ["Bearer x y"], ["Bearer x", "Bearer x"], ["Bearer \xe9"], [""]]
)
def test_what_is_no_token_is_not_repeated(values: list[str]) -> None:
    """The error says how to present one."""
    with pytest.raises(CallError) as raised:
        bearer_token(values)
    assert raised.value.code is ErrorCode.UNAUTHENTICATED
    assert raised.value.reason == "authorization: must be given once, as Bearer TOKEN"
