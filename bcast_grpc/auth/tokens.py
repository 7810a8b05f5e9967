"""Tokens: JSON Web Tokens (RFC 7519), verified by the rules of RFC 8725."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import jwt
from jwt.exceptions import ExpiredSignatureError, InvalidSignatureError, InvalidTokenError, PyJWTError

from bcast_grpc.auth.keys import Key
from bcast_grpc.auth.patterns import Patterns, rights_of

LEEWAY_S = 30
MAX_TOKEN_BYTES = 16 * 1024
MAX_SUBJECT_BYTES = 256


class Claims(NamedTuple):
    """What a valid token says.

    Attributes:
        subject: who it is for.
        expires: when it expires, in Unix time.
        name: the only name that the client may have; empty if it may choose one.
        rooms: what the client may do; None if the token does not say.
        id: the token's id, for the log; empty if it has none.
    """

    subject: str
    expires: float
    name: str
    rooms: Patterns | None
    id: str


class InvalidToken(Exception):
    """A token is not valid; the text says why, for the log, without the token.

    Attributes:
        expired: whether it has expired but was valid before.
    """

    def __init__(self, why: str, *, expired: bool = False) -> None:
        super().__init__(why)
        self.expired = expired


class UnknownKey(InvalidToken):
    """No key with the token's ``kid`` is known; it may have been published since the keys were fetched."""


class Verifier(NamedTuple):
    """Verifies tokens.

    Attributes:
        issuer: the ``iss`` that a token must have; empty if it does not matter.
        audience: the ``aud`` that a token must have; empty if it does not matter.
    """

    issuer: str = ""
    audience: str = ""

    def verify(self, token: str, keys: Sequence[Key]) -> Claims:
        """Verify a token.

        Raises:
            UnknownKey: it is not valid, but might be with a key that is not known yet.
            InvalidToken: it is not valid.
        """
        if len(token) > MAX_TOKEN_BYTES:
            raise InvalidToken(f"it is {len(token)} bytes long; the limit is {MAX_TOKEN_BYTES}")
        unknown_id = ""
        try:
            header = jwt.get_unverified_header(token)
            if "crit" in header:
                raise InvalidToken("its header has crit, which is not supported")
            id_ = header.get("kid", "")
            unknown_id = id_ if all(key.id != id_ for key in keys) else ""
            return _claims(self._payload(token, _candidates(id_, header.get("alg"), keys)))
        except ExpiredSignatureError:
            raise InvalidToken("it has expired", expired=True) from None
        except (PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            if unknown_id:
                raise UnknownKey(f"{_shown(error)}; no key has its kid {unknown_id[:64]!a}") from None
            raise InvalidToken(_shown(error)) from None

    def _payload(self, token: str, candidates: Sequence[Key]) -> Mapping[str, Any]:
        """Return the token's payload, if one of the keys has signed it."""
        for key in candidates:
            with suppress(InvalidSignatureError):
                return jwt.decode(
                    token,
                    key.verifier,
                    algorithms=list(key.algorithms),
                    issuer=self.issuer or None,
                    audience=self.audience or None,
                    leeway=LEEWAY_S,
                    options={"require": ["exp", "sub"], "verify_aud": bool(self.audience)},
                )
        raise InvalidTokenError("its signature is by none of the keys for its algorithm")


def _candidates(id_: str, algorithm: object, keys: Sequence[Key]) -> Sequence[Key]:
    """Return the keys that may have signed a token: those with its ``kid``, else those without one.

    The key decides which algorithms it may be used with: a token that names another algorithm has no candidates.
    """
    named = [key for key in keys if key.id == id_] if id_ else keys
    return [key for key in named or keys if algorithm in key.algorithms and (named or not key.id)]


def _claims(payload: Mapping[str, Any]) -> Claims:
    subject = payload["sub"]
    if not isinstance(subject, str) or not subject.strip() or len(subject.encode()) > MAX_SUBJECT_BYTES:
        raise InvalidToken(f"its sub must be a string of 1 to {MAX_SUBJECT_BYTES} bytes")
    if isinstance(payload["exp"], bool | str):
        raise InvalidToken("its exp must be a number")
    own = payload.get("bcast", {})
    if not isinstance(own, dict):
        raise InvalidToken("its claim bcast must be an object")
    name, rooms = own.get("name", ""), own.get("rooms")
    if not isinstance(name, str):
        raise InvalidToken("its bcast.name must be a string")
    id_ = payload.get("jti", "")
    return Claims(subject, float(payload["exp"]), name, _rooms(rooms) if "rooms" in own else None, str(id_)[:64])


def _rooms(rooms: object) -> Patterns:
    if not isinstance(rooms, dict):
        raise InvalidToken("its bcast.rooms must be an object")
    granted = {}
    for pattern, words in rooms.items():
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise InvalidToken("its bcast.rooms must be lists of rights")
        granted[pattern] = rights_of(words)
    return Patterns(granted)


def _shown(error: Exception) -> str:
    """Return what is wrong in words. PyJWT's texts do not repeat the token, so they may be logged."""
    return (
        str(error) if isinstance(error, (PyJWTError, InvalidToken)) else f"it cannot be read ({type(error).__name__})"
    )
