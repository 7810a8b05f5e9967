"""Tokens that have expired: they may be presented again and again, and cost no more than wrong ones."""

from __future__ import annotations

import pytest

from bcast_grpc.auth import expired
from bcast_grpc.auth.expired import ExpiredTokens
from bcast_grpc.auth.gatekeeper import Gatekeeper, Policy
from bcast_grpc.auth.keys import Key
from bcast_grpc.auth.tokens import Verifier
from bcast_grpc.core.identity import Caller, Identity
from bcast_grpc.core.limits import Limits
from bcast_grpc.errors import CallError, ErrorCode
from tests import tokens
from tests.core.world import World

RSA = Key("", ("RS256",), tokens.rsa_key().public_key())


def test_an_expired_token_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is presented, and however its signature is written. Its address is not banned for it."""
    verified: list[str] = []
    verify = Verifier.verify

    def counted(self: Verifier, token: str, keys: list[Key]) -> object:
        verified.append(token)
        return verify(self, token, keys)

    monkeypatch.setattr(Verifier, "verify", counted)
    gatekeeper = Gatekeeper(Policy(keys=[RSA]), World().scheduler, Limits())
    token = tokens.token(expires_s=-60)
    signed, _, signature = token.rpartition(".")
    for number in range(100):
        again = f"{signed}.{signature[:number]}!{signature[number:]}" if number else token
        with pytest.raises(CallError) as refusal:
            gatekeeper.identify(Caller("192.0.2.1:5", again))
        assert refusal.value.code is ErrorCode.TOKEN_EXPIRED
    assert verified == [token]
    identity = gatekeeper.identify(Caller("192.0.2.1:5", tokens.token()))
    assert isinstance(identity, Identity)
    assert identity.subject == "ana"
    with pytest.raises(CallError) as refusal:
        gatekeeper.identify(Caller("192.0.2.1:5", "a.b.\ud800"))
    assert refusal.value.code is ErrorCode.UNAUTHENTICATED


def test_what_has_expired_is_remembered_for_a_minute() -> None:
    """Then the clock may have been set back."""
    now = 0.0
    known = ExpiredTokens(lambda: now)
    known.add("a.b.c")
    now = 59.0
    assert "a.b.c" in known
    assert "a.c.c" not in known
    now = 60.0
    assert "a.b.c" not in known


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are; the latest are remembered, and none of them is held."""
    monkeypatch.setattr(expired, "MAX_TOKENS", 10)
    known = ExpiredTokens(lambda: 0.0)
    for number in range(100):
        known.add(f"{number}.b.c")
    assert [f"{number}.b.c" in known for number in (89, 90, 99)] == [False, True, True]
    assert {len(digest) for digest in known._until} == {16}
