"""Which tokens hold."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.auth.keys import Key, parse_jwks
from bcast_grpc.auth.tokens import MAX_TOKEN_BYTES, InvalidToken, UnknownKey, Verifier
from bcast_grpc.core.identity import ALL_RIGHTS, NO_RIGHTS, Rights
from tests import tokens

SECRET = b"s" * 64
RSA = [Key("", ("RS256", "PS256"), tokens.rsa_key().public_key())]
CHAT = Verifier(audience=tokens.AUDIENCE)


@pytest.mark.parametrize(
    ("key", "algorithm", "known"),
    [
        (SECRET, "HS256", Key("", ("HS256", "HS384", "HS512"), SECRET)),
        (SECRET, "HS384", Key("", ("HS256", "HS384", "HS512"), SECRET)),
        (SECRET, "HS512", Key("", ("HS256", "HS384", "HS512"), SECRET)),
        (tokens.rsa_key(), "RS256", RSA[0]),
        (tokens.rsa_key(), "PS256", RSA[0]),
        (tokens.ec_key(), "ES256", Key("", ("ES256",), tokens.ec_key().public_key())),
        (tokens.ec_key("secp384r1"), "ES384", Key("", ("ES384",), tokens.ec_key("secp384r1").public_key())),
        (tokens.ed_key(), "EdDSA", Key("", ("EdDSA",), tokens.ed_key().public_key())),
    ],
    ids=["HS256", "HS384", "HS512", "RS256", "PS256", "ES256", "ES384", "EdDSA"],
)
def test_every_kind_of_key_verifies_its_tokens(key: Any, algorithm: str, known: Key) -> None:
    """The contract's eight algorithms; no other key takes them."""
    token = tokens.token(key, algorithm, subject="ana", name="Ana", rooms={"lobby": ["join", "fly"]}, jti="7")
    claims = CHAT.verify(token, [known])
    assert (claims.subject, claims.name, claims.id) == ("ana", "Ana", "7")
    assert claims.rooms
    assert [claims.rooms.find("lobby"), claims.rooms.find("dev")] == [Rights(join=True), None]
    with pytest.raises(InvalidToken):
        CHAT.verify(token, [Key("", (algorithm,), _another(key))])


def _another(key: Any) -> Any:
    if isinstance(key, bytes):
        return b"t" * 64
    if key == tokens.rsa_key():
        return tokens.rsa_key(1).public_key()
    return (tokens.ed_key() if key is not tokens.ed_key() else Ed25519PrivateKey.generate()).public_key()


@pytest.mark.parametrize("what", list(tokens.wrong_tokens()))
def test_wrong_tokens_are_refused(what: str) -> None:
    """Each for a reason in words, which never repeat the token."""
    token = tokens.wrong_tokens()[what]
    if what == "a name that cannot be":  # that is up to the gatekeeper, which knows what a name may be
        return
    with pytest.raises(InvalidToken) as raised:
        CHAT.verify(token, RSA)
    assert raised.value.expired is (what == "expired")
    assert str(raised.value)
    assert not any(part in str(raised.value) for part in token.split(".") if part)


@pytest.mark.parametrize(("at_s", "holds"), [(-25, True), (-40, False)])
def test_clocks_may_differ_by_half_a_minute(at_s: float, holds: bool) -> None:
    """For ``exp``, and for ``nbf`` and ``iat`` likewise."""
    found = []
    for token in (tokens.token(expires_s=at_s), tokens.token(nbf=time.time() - at_s)):
        try:
            CHAT.verify(token, RSA)
            found.append(True)
        except InvalidToken:
            found.append(False)
    assert found == [holds, holds]


def test_issuer_and_audience_count_where_they_are_set() -> None:
    """Otherwise a token may name any, or none."""
    bare = jwt.encode({"sub": "ana", "exp": time.time() + 60}, tokens.rsa_key(), "RS256")
    for verifier, token, holds in [
        (Verifier(), bare, True),
        (Verifier(), tokens.token(iss="x"), True),
        (Verifier(issuer="x"), tokens.token(iss="x"), True),
        (Verifier(issuer="x"), tokens.token(iss="y"), False),
        (Verifier(issuer="x"), bare, False),
        (CHAT, tokens.token(aud=["other", "chat"]), True),
        (CHAT, bare, False),
    ]:
        if holds:
            assert verifier.verify(token, RSA).subject == "ana"
        else:
            with pytest.raises(InvalidToken):
                verifier.verify(token, RSA)


def test_a_kid_chooses_the_key() -> None:
    """An unknown one may be that of a key that was just published; a key without one is tried for all."""
    keys = parse_jwks("test", tokens.jwks(tokens.rsa_key(), tokens.rsa_key(1)))
    assert CHAT.verify(tokens.token(tokens.rsa_key(1), kid="1"), keys).subject == "ana"
    assert CHAT.verify(tokens.token(tokens.rsa_key(1)), keys).subject == "ana"
    assert CHAT.verify(tokens.token(kid="of another"), RSA).subject == "ana"
    with pytest.raises(InvalidToken) as wrong:
        CHAT.verify(tokens.token(tokens.rsa_key(1), kid="0"), keys)
    assert not isinstance(wrong.value, UnknownKey)
    with pytest.raises(UnknownKey):
        CHAT.verify(tokens.token(kid="2"), keys)


def test_a_long_token_is_not_read() -> None:
    """Whoever sends one has it refused for its length."""
    with pytest.raises(InvalidToken, match="limit"):
        CHAT.verify("x" * (MAX_TOKEN_BYTES + 1), RSA)


@given(st.text() | st.lists(st.text(st.characters(codec="ascii")), min_size=3, max_size=3).map(".".join))
def test_any_text_is_refused_in_words(text: str) -> None:
    """Nothing that comes from outside raises anything else."""
    with pytest.raises(InvalidToken):
        CHAT.verify(text, RSA)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda some: (
            st.lists(some)
            | st.dictionaries(
                st.sampled_from(["sub", "exp", "bcast", "name", "rooms", "aud", "nbf", "iat", "lobby"]), some
            )
        ),
    )
)
def test_any_payload_with_a_good_signature_is_read_or_refused(payload: Any) -> None:
    """The issuer may be wrong, too."""
    token = jwt.api_jws.encode(json.dumps(payload).encode(), SECRET, "HS256")
    try:
        Verifier().verify(token, [Key("", ("HS256",), SECRET)])
    except InvalidToken as error:
        said = str(error)
        assert said  # it may as well be none


@pytest.mark.parametrize(
    ("granted", "room", "rights"),
    [
        ({"*": ["join"]}, "any", ["join"]),
        ({"team-7/*": ["send"], "team-7/x": []}, "team-7/x", []),
        ({"team-7/*": ["send"], "team*": ["join"]}, "team-7/x", ["send"]),
        ({"a*": ["send"], "a": ["join"]}, "a", ["join"]),
        ({"a*": ["send"]}, "a", ["send"]),
        ({"caf\u0065\u0301": ["join"]}, "café", ["join"]),
        ({}, "any", None),
    ],
)
def test_the_longest_pattern_decides_alone(
    granted: dict[str, list[str]], room: str, rights: Sequence[str] | None
) -> None:
    """An empty list refuses."""
    claims = CHAT.verify(tokens.token(rooms=granted), RSA)
    assert claims.rooms is not None
    found = claims.rooms.find(room)
    assert found == (None if rights is None else Rights(**dict.fromkeys(rights, True)))
    assert (found or NO_RIGHTS) != ALL_RIGHTS
