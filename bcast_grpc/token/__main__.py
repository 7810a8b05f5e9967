"""Makes a token, explains one, or makes a secret."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bcast_grpc.auth.faults import Unusable, read_file
from bcast_grpc.auth.keys import algorithms_of, algorithms_of_secret, find_pem
from bcast_grpc.token.arguments import parse

_SECRET_BYTES = 32


def main() -> int:
    """Do what the command line asks for; return the exit code."""
    given = parse(sys.argv[1:])
    try:
        if given.new_secret:
            make_secret(given.new_secret)
        elif given.show:
            print(explain(sys.stdin.read().strip() if given.show == "-" else given.show))
        else:
            print(make_token(given))
    except Unusable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def make_secret(path: Path) -> None:
    """Write a new secret, which only its owner may read.

    Raises:
        Unusable: the file exists already, or cannot be written.
    """
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Unusable(path, "this file exists already, and was left unchanged; choose another name") from None
    except OSError as error:
        raise Unusable(path, f"cannot write this file: {error.strerror or error}") from None
    with open(number, "w") as file:  # noqa: PTH123  # it is open already
        file.write(secrets.token_urlsafe(_SECRET_BYTES) + "\n")


def make_token(given: Namespace) -> str:
    """Sign a token.

    Raises:
        Unusable: the key cannot be read, or cannot sign.
    """
    now = int(time.time())
    claims: dict[str, Any] = {"sub": given.sub, "iat": now, "exp": now + given.expires, "jti": secrets.token_urlsafe(9)}
    claims |= {name: value for name, value in (("aud", given.audience), ("iss", given.issuer)) if value}
    own = {name: value for name, value in (("name", given.name), ("rooms", given.granted)) if value}
    if own:
        claims["bcast"] = own
    key, algorithm = _read_signer(given.key)
    return jwt.encode(claims, key, algorithm, headers={"kid": given.kid} if given.kid else None)


def _read_signer(path: Path) -> tuple[Any, str]:
    """Return the key that signs, and its algorithm."""
    content = read_file(path).strip()
    try:
        if not (pem := find_pem(content)):
            return content, algorithms_of_secret(content)[0]
        key = load_pem_private_key(pem, None)
        return key, algorithms_of(key.public_key())[0]
    except TypeError:
        raise Unusable(path, "is encrypted; decrypt it first: openssl pkey -in FILE") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Unusable(path, f"cannot sign: {error}") from None


def explain(token: str) -> str:
    """Return what is in a token, in words.

    Raises:
        Unusable: it is not a token.
    """
    try:
        header = jwt.get_unverified_header(token)
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise Unusable("this token", f"is not a JSON Web Token: {error}") from None
    return "\n".join(_explained(header, claims))


def _explained(header: Mapping[str, Any], claims: Mapping[str, Any]) -> list[str]:
    lines = [f"signed by   {header.get('alg')}" + (f", with the key {header['kid']}" if header.get("kid") else "")]
    lines.append(f"for         {claims.get('sub', 'nobody: it has no sub, so no server accepts it')}")
    for name, claim in (("from", "iss"), ("to", "aud")):
        if claim in claims:
            lines.append(f"{name:<11} {claims[claim]}")
    lines.append(f"expires     {_when(claims.get('exp'))}")
    own = claims.get("bcast")
    own = own if isinstance(own, dict) else {}
    if own.get("name"):
        lines.append(f"named       {own['name']}")
    rooms = own.get("rooms")
    if isinstance(rooms, dict):
        lines += [f"in {pattern}: {', '.join(map(str, words)) or 'nothing'}" for pattern, words in rooms.items()]
    else:
        lines.append("in rooms    as the server's file of rights says")
    lines.append("This was not verified: only the server can say whether the signature holds.")
    return [line if line.isprintable() else json.dumps(line) for line in lines]


def _when(exp: object) -> str:
    if not isinstance(exp, int | float):
        return "never: it has no exp, so no server accepts it"
    try:
        at = datetime.fromtimestamp(exp, UTC)
    except (OverflowError, ValueError, OSError):
        return f"at {exp}, which is not a valid time"
    left_s = round(exp - time.time())
    return f"{at:%Y-%m-%d %H:%M:%S} UTC, " + (f"in {left_s} s" if left_s > 0 else f"{-left_s} s ago")


if __name__ == "__main__":
    sys.exit(main())
