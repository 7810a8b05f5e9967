"""Files with keys: what is taken, and what is said about the rest."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509 import load_pem_x509_certificate
from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.auth.faults import Unusable
from bcast_grpc.auth.keys import parse_jwks, read_keys
from tests import tokens


def fault_of(folder: Path, content: bytes) -> str:
    """What is said about a file, without its name."""
    path = folder / "keys"
    path.write_bytes(content)
    with pytest.raises(Unusable) as raised:
        read_keys(path)
    said = str(raised.value)
    assert said.startswith(f"{path}: ")
    return said.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "algorithms"),
    [
        (tokens.pem_of(tokens.rsa_key()), ["RS256", "PS256"]),
        (b"\n" + tokens.pem_of(tokens.ec_key()), ["ES256"]),
        (tokens.pem_of(tokens.ec_key("secp384r1")), ["ES384"]),
        (tokens.pem_of(tokens.ed_key()), ["EdDSA"]),
        (b"x" * 32 + b"\n", ["HS256"]),
        (b"x" * 48, ["HS256", "HS384"]),
        (b"x" * 64, ["HS256", "HS384", "HS512"]),
        (tokens.jwks(tokens.ec_key()), ["ES256"]),
        (tokens.jwks(tokens.rsa_key(), alg="PS256"), ["PS256"]),
        (json.dumps(json.loads(tokens.jwks(tokens.ed_key()))["keys"][0]).encode(), ["EdDSA"]),
    ],
    ids=["RSA", "P-256", "P-384", "Ed25519", "32 bytes", "48 bytes", "64 bytes", "JWKS", "JWKS with alg", "JWK"],
)
def test_what_a_key_may_sign_follows_from_its_kind(tmp_path: Path, content: bytes, algorithms: list[str]) -> None:
    """Whatever the token says."""
    path = tmp_path / "keys"
    path.write_bytes(content)
    (key,) = read_keys(path)
    assert list(key.algorithms) == algorithms


def private(key: Any) -> bytes:
    """A private key as PEM."""
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def test_what_is_no_key_is_named(tmp_path: Path) -> None:
    """With what would be right; a secret is never repeated."""
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    odd = ec.generate_private_key(ec.SECP521R1())
    old = dsa.generate_private_key(1024)
    assert "is a private key; the server needs the public one" in fault_of(tmp_path, private(tokens.rsa_key()))
    assert "at least 2048 bits, not 1024" in fault_of(tmp_path, tokens.pem_of(small))
    assert "must be P-256 or P-384" in fault_of(tmp_path, tokens.pem_of(odd))
    assert "must be RSA, EC" in fault_of(tmp_path, tokens.pem_of(old))
    assert "is not a public key in PEM" in fault_of(
        tmp_path, b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"
    )
    short = fault_of(tmp_path, b"hunter2")
    assert "at least 32 bytes, not 7" in short
    assert "--new-secret" in short
    assert "hunter2" not in short
    assert "is not JSON" in fault_of(tmp_path, b"{")
    assert "has no key that can be used" in fault_of(tmp_path, b'{"keys": []}')
    assert 'it needs a list "keys"' in fault_of(tmp_path, b'{"keyes": []}')
    assert "the limit is 100" in fault_of(tmp_path, json.dumps({"keys": [{}] * 101}).encode())
    with pytest.raises(Unusable, match="cannot read this file: No such file"):
        read_keys(tmp_path / "none")
    with pytest.raises(Unusable, match="cannot read this file: Is a directory"):
        read_keys(tmp_path)


def in_base64(content: bytes) -> bytes:
    """As consoles of identity providers show keys: without the lines around them."""
    return b64encode(content)


PUBLIC = tokens.rsa_key().public_key()
DER = PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
CERTIFICATE = load_pem_x509_certificate(trustme.CA().cert_pem.bytes()).public_bytes(Encoding.DER)


@pytest.mark.parametrize("more", [b"", b"\n", b" \r\n"], ids=["alone", "a newline", "and a space"])
def test_a_public_key_that_ends_like_a_text_is_no_secret(tmp_path: Path, more: bytes) -> None:
    """In DER the last byte may be a space by chance, which would be taken from the end of a text."""
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    keys = (ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(*form) for _ in count())
    content = next(key for key in keys if key[-1:].isspace())
    assert "a public key without its armor" in fault_of(tmp_path, content + more)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (DER, "a public key without its armor"),
        (in_base64(DER), "a public key without its armor"),
        (b"\n".join(in_base64(DER)[at : at + 64] for at in range(0, 400, 64)), "a public key without its armor"),
        (CERTIFICATE, "a certificate"),
        (in_base64(CERTIFICATE), "a certificate"),
        (PUBLIC.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH), "a public key of SSH"),
        (tokens.pem_of(tokens.rsa_key()).decode().encode("utf-16"), "PEM in UTF-16"),
        (json.dumps(json.loads(tokens.jwks(tokens.rsa_key()))["keys"]).encode(), "a JWK"),
        (b"# of the issuer\n" + tokens.jwks(tokens.rsa_key()), "a JWK"),
        (b"<html><body>502 Bad Gateway</body></html>", "HTML or XML"),
    ],
    ids=[
        "DER",
        "base64",
        "lines of base64",
        "certificate",
        "base64 of one",
        "SSH",
        "UTF-16",
        "list of JWKs",
        "comment",
        "HTML",
    ],
)  # fmt: skip
def test_what_many_people_have_is_no_secret(tmp_path: Path, content: bytes, says: str) -> None:
    """Each of them could sign tokens with it."""
    assert says in fault_of(tmp_path, content)
    jwk = {"kty": "oct", "k": urlsafe_b64encode(content).rstrip(b"=").decode()}
    with pytest.raises(Unusable):
        parse_jwks("x", json.dumps({"keys": [jwk]}).encode())


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"# of the issuer\n", b"Bag Attributes\n    localKeyID: 01\n"])
def test_what_comes_before_a_public_key_makes_no_secret_of_it(tmp_path: Path, before: bytes) -> None:
    """Editors put a mark there, and tools put comments before PEM."""
    path = tmp_path / "keys"
    path.write_bytes(before + tokens.pem_of(tokens.rsa_key()))
    assert [tuple(key.algorithms) for key in read_keys(path)] == [("RS256", "PS256")]
    path.write_bytes(b"\xef\xbb\xbf" + tokens.jwks(tokens.rsa_key()))
    assert [tuple(key.algorithms) for key in read_keys(path)] == [("RS256", "PS256")]


def test_keys_for_something_else_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """Each with a line in the log; the others count."""
    good = json.loads(tokens.jwks(tokens.rsa_key()))["keys"][0]
    secret = {"kty": "oct", "k": urlsafe_b64encode(b"x" * 32).rstrip(b"=").decode()}
    others = [
        1,
        {"kty": "what"},
        good | {"use": "enc"},
        good | {"key_ops": ["encrypt"]},
        good | {"key_ops": 5},
        good | {"alg": "HS256"},
        good | {"kid": 7},
        {"kty": "oct", "k": "c2hvcnQ"},
        {"kty": "oct", "k": 1},
        {name: value for name, value in good.items() if name != "n"},
    ]
    content = json.dumps({"keys": [*others, secret, good]}).encode()
    assert [key.algorithms for key in parse_jwks("x", content)] == [["HS256"], ("RS256", "PS256")]
    assert len(caplog.records) == len(others)
    caplog.clear()
    assert len(parse_jwks("x", content, with_secrets=False)) == 1
    assert len(caplog.records) == len(others) + 1


@given(st.recursive(st.none() | st.integers() | st.text(), lambda some: st.lists(some) | st.dictionaries(
    st.sampled_from(["keys", "kty", "kid", "k", "n", "e", "crv", "x", "y", "alg", "use"]) , some)))  # fmt: skip
def test_any_json_is_a_set_of_keys_or_refused(document: Any) -> None:
    """Nothing else is raised."""
    for content in (document, {"keys": [document]}, {"keys": [{"kty": "RSA", "n": document, "e": document}]}):
        try:
            parse_jwks("x", json.dumps(content).encode())
        except Unusable:
            continue


_ED_PRIME = 2**255 - 19
_OF_ORDER_8 = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize(
    "y", [1, _ED_PRIME + 1, _ED_PRIME - 1, 0, _ED_PRIME, _OF_ORDER_8, _ED_PRIME - _OF_ORDER_8], ids=hex
)
def test_keys_that_anyone_can_sign_for_are_refused(tmp_path: Path, y: int, sign: int) -> None:
    """Each point of small order of Ed25519, also where its number is not the smallest way to write it."""
    point = ed25519.Ed25519PublicKey.from_public_bytes((y + sign * 2**255).to_bytes(32, "little"))
    pem = point.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert fault_of(tmp_path, pem) == "the Ed25519 key must not be a point of small order: anyone can sign for it"
