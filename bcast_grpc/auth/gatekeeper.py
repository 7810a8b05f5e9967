"""Decides who a client is: by its token, by its certificate, or anonymous."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from bcast_grpc.auth.expired import ExpiredTokens
from bcast_grpc.auth.jwks import RemoteKeys
from bcast_grpc.auth.keys import Key
from bcast_grpc.auth.patterns import Patterns
from bcast_grpc.auth.refusals import Refusals
from bcast_grpc.auth.rights import RightsFile
from bcast_grpc.auth.tokens import Claims, InvalidToken, UnknownKey, Verifier
from bcast_grpc.core.clock import Scheduler
from bcast_grpc.core.identity import ALL_RIGHTS, NO_RIGHTS, Caller, Identity, Rights
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.names import check_name
from bcast_grpc.core.peers import network_of
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

    async def identify(self, caller: Caller) -> Identity:
        """Return who calls. A token beats a certificate.

        Raises:
            CallError: ``UNAUTHENTICATED`` or ``TOKEN_EXPIRED``. The reason is logged, without the token.
        """
        if caller.token and self.policy.takes_tokens:
            return await self._by_token(caller)
        if caller.certificate:
            return Identity(caller.certificate, grants=partial(self._rights_of, caller.certificate))
        return self._anonymous[self.policy.takes_tokens]

    async def _by_token(self, caller: Caller) -> Identity:
        network = network_of(caller.peer)
        if wait_s := self._refusals.wait_s(network):
            raise CallError(
                ErrorCode.UNAUTHENTICATED,
                f"too many tokens from this address were refused; try again in {wait_s:.0f} s",
                retry_after_s=wait_s,
                retryable=True,
            )
        if caller.token in self._expired:
            raise _expired()
        try:
            claims = await self._verify(caller.token)
            name = check_name(claims.name, self._limits) if claims.name else ""
        except RequestError as error:
            raise self._refuse(caller, InvalidToken(f"its bcast.name {error.reason}")) from None
        except InvalidToken as error:
            raise self._refuse(caller, error) from None
        return Identity(
            claims.subject,
            name,
            partial(_rights_in, claims.rooms) if claims.rooms else partial(self._rights_of, claims.subject),
            self._scheduler.time() + claims.expires - time.time(),
        )

    async def _verify(self, token: str) -> Claims:
        policy = self.policy
        keys = [*policy.keys]
        others = bool(keys) or len(policy.remote) > 1
        for source in policy.remote:
            keys += await source.keys(others=others)
        if not keys:
            raise CallError(
                ErrorCode.UNAUTHENTICATED,
                "the keys for tokens cannot be fetched at the moment; try again later",
                retry_after_s=_RETRY_AFTER_S,
                retryable=True,
            )
        try:
            return policy.verifier.verify(token, keys)
        except UnknownKey:
            if not policy.remote:
                raise
        keys = [*policy.keys]
        for source in policy.remote:
            await source.refetch()
            keys += await source.keys()
        return policy.verifier.verify(token, keys)

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
