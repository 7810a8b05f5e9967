"""Decides who a client is: by its token, by its certificate, or anonymous."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil

from bcast_grpc.auth.expired import ExpiredTokens
from bcast_grpc.auth.jwks import RemoteKeys
from bcast_grpc.auth.keys import Key
from bcast_grpc.auth.patterns import Patterns
from bcast_grpc.auth.refusals import Refusals
from bcast_grpc.auth.rights import RightsFile
from bcast_grpc.auth.tokens import MAX_TOKEN_BYTES, Claims, InvalidToken, UnknownKey, Verifier
from bcast_grpc.core.identity import ALL_RIGHTS, NO_RIGHTS, Caller, Identifying, Identity, Rights
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.names import check_name
from bcast_grpc.core.peers import network_of
from bcast_grpc.core.scheduling import Scheduler
from bcast_grpc.errors import CallError, ErrorCode, RequestError

logger = logging.getLogger(__name__)

_RETRY_AFTER_S = 10.0


@dataclass(frozen=True, slots=True)
class Policy:
    """Who is known to the server, and what they may do. A reload replaces it as a whole.

    Attributes:
        keys: keys from files.
        remote: keys from URLs.
        verifier: verifies tokens.
        rights: the file of rights; None if every known subject may do everything.
        certificates: whether clients present certificates.
    """

    keys: Sequence[Key] = ()
    remote: Sequence[RemoteKeys] = ()
    verifier: Verifier = field(default_factory=Verifier)
    rights: RightsFile | None = None
    certificates: bool = False

    @property
    def takes_tokens(self) -> bool:
        """Whether tokens are verified; if not, they are ignored."""
        return bool(self.keys or self.remote)

    @property
    def keys_at_hand(self) -> Sequence[Key]:
        """The keys from files, and those that were fetched from URLs last."""
        return [*self.keys, *(key for source in self.remote for key in source.at_hand)] if self.remote else self.keys

    def rights_of(self, subject: str, room: str) -> Rights:
        """Return what a subject may do in a room, if its token does not say; the empty subject is anonymous."""
        if self.rights:
            return self.rights.of(subject, room)
        return ALL_RIGHTS if subject or not (self.takes_tokens or self.certificates) else NO_RIGHTS


class Gatekeeper:
    """The core's ``Gatekeeper``, with a policy that can be replaced.

    Attributes:
        policy: the policy in force.
    """

    def __init__(self, policy: Policy, scheduler: Scheduler, limits: Limits) -> None:
        self.policy = policy
        self._scheduler = scheduler
        self._limits = limits
        self._refusals = Refusals(scheduler.time)
        self._expired = ExpiredTokens(scheduler.time)
        grants = partial(self._rights_of, "")
        # Many clients are anonymous, so they share one identity.
        self._anonymous = {helps: Identity(grants=grants, token_helps=helps) for helps in (False, True)}

    def identify(self, caller: Caller) -> Identity | Identifying:
        """Return who calls, or a function that finds out if keys are at URLs. A token beats a certificate.

        Raises:
            CallError: ``UNAUTHENTICATED`` or ``TOKEN_EXPIRED``. The reason is logged, without the token.
        """
        if caller.token and self.policy.takes_tokens:
            return self._by_token(caller)
        if caller.certificate:
            grants = partial(self._rights_of, caller.certificate)
            return Identity(caller.certificate, grants=grants, token_helps=self.policy.takes_tokens)
        return self._anonymous[self.policy.takes_tokens]

    def _by_token(self, caller: Caller) -> Identity | Identifying:
        if any(source.outdated for source in self.policy.remote):
            self._check(caller)
            return partial(self._once_fetched, caller)
        return self._verify(caller)

    def _check(self, caller: Caller) -> None:
        """Refuse a token unread where that is enough.

        Raises:
            CallError: ``UNAUTHENTICATED`` or ``TOKEN_EXPIRED``.
        """
        if wait_s := ceil(self._refusals.wait_s(network_of(caller.peer))):
            raise CallError(
                ErrorCode.UNAUTHENTICATED,
                f"too many tokens from this address were refused; try again in {wait_s} s",
                retry_after_s=wait_s,
                retryable=True,
            )
        if len(caller.token) <= MAX_TOKEN_BYTES and caller.token in self._expired:
            raise _expired()

    def _verify(self, caller: Caller, *, anew: bool = False) -> Identity | Identifying:
        """Verify a token with the keys at hand; ``anew`` if those at URLs have been fetched because of it."""
        self._check(caller)  # meanwhile its address may have been banned
        policy = self.policy
        keys = policy.keys_at_hand
        if not keys:
            raise CallError(
                ErrorCode.UNAUTHENTICATED,
                "the keys for tokens cannot be fetched at the moment; try again later",
                retry_after_s=_RETRY_AFTER_S,
                retryable=True,
            )
        try:
            return self._identity(policy.verifier.verify(caller.token, keys))
        except InvalidToken as error:
            if isinstance(error, UnknownKey) and not anew and any(source.refetchable for source in policy.remote):
                return partial(self._once_fetched, caller, anew=True)
            raise self._refuse(caller, error) from None

    async def _once_fetched(self, caller: Caller, *, anew: bool = False) -> Identity:
        """Fetch the keys at URLs that are outdated, or all of them, and verify a token when it is its turn."""
        policy = self.policy
        others = bool(policy.keys) or len(policy.remote) > 1
        for source in policy.remote:
            await (source.refetch() if anew else source.keys(others=others))
        found = await self._scheduler.do(caller.peer, partial(self._verify, caller, anew=anew))
        return found if isinstance(found, Identity) else await found()

    def _identity(self, claims: Claims) -> Identity:
        try:
            name = check_name(claims.name, self._limits) if claims.name else ""
        except RequestError as error:
            raise InvalidToken(f"its bcast.name {error.reason}") from None
        return Identity(
            claims.subject,
            name,
            partial(_rights_in, claims.rooms) if claims.rooms else partial(self._rights_of, claims.subject),
            self._scheduler.time() + claims.expires - time.time(),
        )

    def _refuse(self, caller: Caller, error: InvalidToken) -> CallError:
        logger.info("%s: a token was refused: %s", caller.peer, error)
        if error.expired:  # not counted as an attempt to guess: the client once had a valid token
            self._expired.add(caller.token)
            return _expired()
        if self._refusals.add(network_of(caller.peer)):
            logger.warning(
                "%s: too many refused tokens; further ones from this address are refused unread for a minute",
                caller.peer,
            )
        return CallError(ErrorCode.UNAUTHENTICATED, "the token is not valid for this server")

    def _rights_of(self, subject: str, room: str) -> Rights:
        return self.policy.rights_of(subject, room)


def _expired() -> CallError:
    return CallError(ErrorCode.TOKEN_EXPIRED, "the token has expired; present a new one")


def _rights_in(rooms: Patterns, room: str) -> Rights:
    return rooms.find(room) or NO_RIGHTS
