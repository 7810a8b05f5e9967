"""The keys that tokens are signed with: PEM, JWKS, or a shared secret."""

from __future__ import annotations

import codecs
import json
import logging
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from bcast_grpc.auth.faults import Unusable, read_file

logger = logging.getLogger(__name__)

LEAST_SECRET_BYTES = 32
LEAST_RSA_BITS = 2048
MAX_KEYS = 100
"""A set with more is refused: a token may have to be tried with each."""

_OF_SECRETS = {"HS256": 32, "HS384": 48, "HS512": 64}
"""How long a secret must be for each, in bytes (RFC 7518, 3.2)."""

_PEM = b"-----BEGIN"

_PUBLIC_TEXTS = {
    "-----BEGIN".encode("utf-16-le"): "PEM in UTF-16; store it in UTF-8",
    "-----BEGIN".encode("utf-16-be"): "PEM in UTF-16; store it in UTF-8",
    b'"kty"': 'a JWK; store it as {"keys": [...]}, and nothing before it',
    b"</": "HTML or XML",
    b"ssh-": "a public key of SSH; convert it to PEM: ssh-keygen -e -m PKCS8 -f FILE",
    b"ecdsa-sha2-": "a public key of SSH; convert it to PEM: ssh-keygen -e -m PKCS8 -f FILE",
}
"""A file that contains one of these is public and not a secret; the value says what it is."""

_ED_PRIME = 2**255 - 19
_ED_D = -121665 * pow(121666, -1, _ED_PRIME)
"""The field of Ed25519, and the constant of its curve -x² + y² = 1 + d x² y² (RFC 8032, 5.1)."""

_OF_CURVES = {"secp256r1": ("ES256",), "secp384r1": ("ES384",)}


class Key(NamedTuple):
    """A key that verifies tokens.

    Attributes:
        id: its ``kid``; empty if it has none, so it is tried with every token.
        algorithms: the algorithms that it may be used with.
        verifier: the key as PyJWT takes it.
    """

    id: str
    algorithms: Sequence[str]
    verifier: Any


def read_keys(path: Path) -> Sequence[Key]:
    """Read a file with keys: a public key as PEM, a JWKS, or a shared secret.

    Raises:
        Unusable: the file cannot be read, or has no usable key.
    """
    content = read_file(path)
    if pem := find_pem(content):
        return [_from_pem(path, pem)]
    stripped = content.removeprefix(codecs.BOM_UTF8).strip()
    if stripped.startswith(b"{"):
        return parse_jwks(str(path), stripped)
    try:
        _check_not_public(content)  # what is binary may end with a byte that looks like a space
        return [Key("", algorithms_of_secret(stripped), stripped)]
    except ValueError as error:
        hint = f"make one with: python -m bcast_grpc.token --new-secret {path}"
        raise Unusable(path, f"is neither PEM nor a JWKS, and cannot be a secret: {error}; {hint}") from None


def find_pem(content: bytes) -> bytes:
    """Return a file's content from its PEM on; empty if it has none. Comments may precede it (RFC 7468, section 2)."""
    _, begin, rest = content.partition(_PEM)
    return begin + rest.rstrip()


def parse_jwks(source: str, content: bytes, *, with_secrets: bool = True) -> Sequence[Key]:
    """Read a JWKS (RFC 7517). Keys of other kinds and for other uses are left out.

    Args:
        source: the file or the URL, for error texts.
        content: JSON.
        with_secrets: whether it may hold shared secrets, which no public URL should.

    Raises:
        Unusable: it is not a JWKS, or has no usable key.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise Unusable(source, 'is not JSON; it must be a JWKS, such as {"keys": [...]}') from None
    found = document.get("keys", [document] if "kty" in document else None) if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise Unusable(source, 'is not a JWKS: it needs a list "keys"')
    if len(found) > MAX_KEYS:
        raise Unusable(source, f"has {len(found)} keys; the limit is {MAX_KEYS}")
    keys = []
    for number, one in enumerate(found):
        try:
            keys.append(_from_jwk(one, with_secrets=with_secrets))
        except (ValueError, TypeError, PyJWTError, UnsupportedAlgorithm) as error:
            logger.warning("%s: key %d is not used: %s", source, number, error)
    if not keys:
        raise Unusable(source, "has no key that can be used; RSA, EC (P-256, P-384), Ed25519 and secrets can")
    return keys


def _from_pem(path: Path, content: bytes) -> Key:
    if b"PRIVATE KEY" in content.partition(b"\n")[0]:
        raise Unusable(path, "is a private key; the server needs the public one: openssl pkey -in FILE -pubout")
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise Unusable(path, "is not a public key in PEM; it must begin with -----BEGIN PUBLIC KEY-----") from None
    try:
        return Key("", algorithms_of(key), key)
    except ValueError as error:
        raise Unusable(path, str(error)) from None


def _from_jwk(jwk: object, *, with_secrets: bool) -> Key:
    if not isinstance(jwk, Mapping):
        raise ValueError("it is not an object")
    if jwk.get("use", "sig") != "sig" or "verify" not in jwk.get("key_ops", ("verify",)):
        raise ValueError("it is not for signatures")
    kind, id_ = jwk.get("kty"), jwk.get("kid", "")
    if not isinstance(id_, str):
        raise ValueError("its kid is not a string")
    if kind == "oct":
        if not with_secrets:
            raise ValueError("it is a shared secret, which a URL must not give away")
        secret = PyJWK({"kty": "oct", "k": jwk.get("k", "")}, algorithm="HS256").key
        return Key(id_, _narrowed(algorithms_of_secret(secret), jwk), secret)
    key = PyJWK({name: value for name, value in jwk.items() if name not in ("alg", "d")}).key
    return Key(id_, _narrowed(algorithms_of(key), jwk), key)


def _narrowed(algorithms: Sequence[str], jwk: Mapping[str, Any]) -> Sequence[str]:
    """Return only the algorithm that a key names, if it names one."""
    if "alg" not in jwk:
        return algorithms
    if jwk["alg"] not in algorithms:
        raise ValueError(f"its alg does not fit; such a key may sign by {', '.join(algorithms)}")
    return (jwk["alg"],)


def algorithms_of_secret(secret: bytes) -> Sequence[str]:
    """Return what may be signed with a shared secret.

    Raises:
        ValueError: nothing, since it is too short or is known to all.
    """
    if len(secret) < LEAST_SECRET_BYTES:
        raise ValueError(f"it must be at least {LEAST_SECRET_BYTES} bytes, not {len(secret)}")
    _check_not_public(secret)
    return [algorithm for algorithm, least in _OF_SECRETS.items() if len(secret) >= least]


def _check_not_public(secret: bytes) -> None:
    if public := next(_public(secret), ""):
        raise ValueError(f"it is {public}")


def _public(secret: bytes) -> Iterator[str]:
    """Yield what a supposed secret is instead that many people have: each of them could sign tokens with it."""
    yield from (what for part, what in _PUBLIC_TEXTS.items() if part in secret)
    with suppress(ValueError):
        yield from _public_der(b64decode(b"".join(secret.split()), validate=True))
    yield from _public_der(secret)


def _public_der(content: bytes) -> Iterator[str]:
    content = _der_alone(content)
    with suppress(ValueError, UnsupportedAlgorithm):
        load_der_public_key(content)
        yield "a public key without its armor; store it as PEM, which begins with -----BEGIN PUBLIC KEY-----"
    with suppress(ValueError):
        x509.load_der_x509_certificate(content)
        yield "a certificate; store its public key as PEM: openssl x509 -in FILE -noout -pubkey"


def _der_alone(content: bytes) -> bytes:
    """Return what is in DER without what follows it, such as the newline that an editor has added."""
    if content[:1] != b"\x30" or len(content) < 2:
        return content
    begin = 2 + (content[1] & 0x7F if content[1] & 0x80 else 0)
    size = int.from_bytes(content[2:begin], "big") if begin > 2 else content[1]
    return content[: begin + size]


def algorithms_of(key: object) -> Sequence[str]:
    """Return what such a public key may sign.

    Raises:
        ValueError: nothing.
    """
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < LEAST_RSA_BITS:
            raise ValueError(f"an RSA key must have at least {LEAST_RSA_BITS} bits, not {key.key_size}")
        return ("RS256", "PS256")
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _OF_CURVES:
            raise ValueError(f"the curve must be P-256 or P-384, not {key.curve.name}")
        return _OF_CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PublicKey):
        if _has_small_order(key):
            raise ValueError("the Ed25519 key must not be a point of small order: anyone can sign for it")
        return ("EdDSA",)
    raise ValueError("the key must be RSA, EC (P-256, P-384) or Ed25519")


def _has_small_order(key: ed25519.Ed25519PublicKey) -> bool:
    """Whether eight times the point is the neutral element; its sign and the way it is written do not matter.

    With y = 1, -1 or 0 the order is 1, 2 or 4. It is 8 if the double has y = 0, so if x² = -y² on the curve.
    """
    y = int.from_bytes(key.public_bytes_raw(), "little") % 2**255 % _ED_PRIME
    return not (y**3 - y) % _ED_PRIME or not (_ED_D * y**4 + 2 * y**2 - 1) % _ED_PRIME
