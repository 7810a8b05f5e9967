"""Tokens as issuers make them, and as nobody should."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

AUDIENCE = "chat"

made: set[str] = set()
"""Every token that was made in this process: none may be in a log, an error or what is printed."""


@cache
def rsa_key(number: int = 0) -> rsa.RSAPrivateKey:
    """One of some keys."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def ec_key(curve: str = "secp256r1") -> ec.EllipticCurvePrivateKey:
    """A key on that curve."""
    return ec.generate_private_key({"secp256r1": ec.SECP256R1(), "secp384r1": ec.SECP384R1()}[curve])


@cache
def ed_key() -> ed25519.Ed25519PrivateKey:
    """A key on Curve25519."""
    return ed25519.Ed25519PrivateKey.generate()


def pem_of(key: Any) -> bytes:
    """The public half, as a file holds it."""
    return bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def claims(subject: str = "ana", expires_s: float = 60, **more: Any) -> dict[str, Any]:
    """What a valid token says."""
    own = {name: more.pop(name) for name in ("name", "rooms") if name in more}
    return {"sub": subject, "exp": time.time() + expires_s, "aud": AUDIENCE} | ({"bcast": own} if own else {}) | more


def token(key: Any = None, algorithm: str = "RS256", *, kid: str = "", **what: Any) -> str:
    """A token; ``what`` is as for ``claims``."""
    return _noted(jwt.encode(claims(**what), key or rsa_key(), algorithm, headers={"kid": kid} if kid else None))


def secrets_in(text: str) -> list[str]:
    """The tokens in a text, or the parts that sign them."""
    return [one for one in made if one in text or one.rpartition(".")[2] in text]


def forged(header: dict[str, Any], payload: dict[str, Any], secret: bytes = b"") -> str:
    """What no library would sign: put together by hand, with an HMAC if there is a secret."""
    signed = ".".join(_encoded(json.dumps(part).encode()) for part in (header, payload))
    signature = hmac.digest(secret, signed.encode(), hashlib.sha256) if secret else b""
    return _noted(f"{signed}.{_encoded(signature)}") if secret else f"{signed}."


def wrong_tokens() -> dict[str, str]:
    """Tokens that no server takes that knows ``rsa_key()``, by what is wrong with them."""
    good = token()
    head, body, signature = good.split(".")
    other = token(subject="eva").split(".")[1]
    return {
        "nonsense": "nonsense",
        "bad signature": f"{head}.{body}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
        "another body": f"{head}.{other}.{signature}",
        "another key": token(rsa_key(1)),
        "another kind of key": token(ec_key(), "ES256"),
        "alg none": forged({"alg": "none", "typ": "JWT"}, claims()),
        "alg None": forged({"alg": "None"}, claims()),
        "no alg": forged({}, claims()),
        "HS256 with the public key": forged({"alg": "HS256", "typ": "JWT"}, claims(), pem_of(rsa_key())),
        "RS256 without a signature": forged({"alg": "RS256"}, claims()),
        "RS512": token(algorithm="RS512"),
        "a key of its own": jwt.encode(
            claims(), rsa_key(1), "RS256", headers={"jwk": json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(
                rsa_key(1).public_key()))}
        ),
        "a key from elsewhere": jwt.encode(
            claims(), rsa_key(1), "RS256", headers={"jku": "https://evil.example/jwks", "x5u": "file:///x"}
        ),
        "a kid that is a path": token(rsa_key(1), kid="../../../dev/null"),
        "HS256 with the kid of nothing": forged({"alg": "HS256", "kid": "/dev/null"}, claims(), b"\n"),
        "a detached payload": jwt.encode(claims(), rsa_key(), "RS256", headers={"b64": False, "crit": ["b64"]}),
        "b64 without crit": forged({"alg": "RS256", "b64": False}, claims()) + signature,
        "a header too deep": f"{_encoded(b'[' * 5000)}.{body}.{signature}",
        "crit": jwt.encode(claims(), rsa_key(), "RS256", headers={"crit": ["exp"]}),
        "expired": token(expires_s=-60),
        "not yet valid": token(nbf=time.time() + 60),
        "another audience": token(aud="another"),
        "no audience": jwt.encode({"sub": "ana", "exp": time.time() + 60}, rsa_key(), "RS256"),
        "no exp": jwt.encode({"sub": "ana", "aud": AUDIENCE}, rsa_key(), "RS256"),
        "no sub": jwt.encode({"exp": time.time() + 60, "aud": AUDIENCE}, rsa_key(), "RS256"),
        "an empty sub": token(subject=" "),
        "a sub that is none": forged({"alg": "RS256"}, claims() | {"sub": 1}),
        "an exp that is none": jwt.encode(claims() | {"exp": 10**400}, rsa_key(), "RS256"),
        "an exp in quotes": token(exp=str(round(time.time()) + 60)),
        "an exp that is no number": token(exp=float("nan")),
        "an exp without end": token(exp=float("inf")),
        "half of a surrogate pair as sub": token(subject="\ud800"),
        "rooms that are null": token(rooms=None),
        "rooms that are none": token(rooms=["lobby"]),
        "rights that are none": token(rooms={"lobby": "join"}),
        "a name that is none": token(name=1),
        "a name that cannot be": token(name="\x1b[2J"),
    }  # fmt: skip


def jwks(*keys: Any, **more: Any) -> bytes:
    """A JWKS with the public halves; their ``kid`` is their number."""
    found = []
    for number, key in enumerate(keys):
        public = key.public_key()
        kind = (
            jwt.algorithms.RSAAlgorithm
            if isinstance(key, rsa.RSAPrivateKey)
            else jwt.algorithms.ECAlgorithm
            if isinstance(key, ec.EllipticCurvePrivateKey)
            else jwt.algorithms.OKPAlgorithm
        )
        found.append({**json.loads(kind.to_jwk(public)), "kid": str(number), **more})
    return json.dumps({"keys": found}).encode()


def put(path: Path, token: str) -> None:
    """Replace what is in a file in one step, as one must where a program reads it again."""
    new = path.with_suffix(".new")
    new.write_text(token)
    new.rename(path)


def key_file(folder: Path) -> Path:
    """A file with the public half of ``rsa_key()``."""
    path = folder / "public.pem"
    path.write_bytes(pem_of(rsa_key()))
    return path


def _noted(token: str) -> str:
    made.add(token)
    return token


def _encoded(part: bytes) -> str:
    return urlsafe_b64encode(part).rstrip(b"=").decode()
