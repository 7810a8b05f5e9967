"""Tokens that wait for keys from a URL: what happens meanwhile counts, and each is verified when it is its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence

import pytest

from bcast_grpc.auth.gatekeeper import Gatekeeper, Policy
from bcast_grpc.auth.jwks import Fetched, RemoteKeys
from bcast_grpc.auth.keys import Key
from bcast_grpc.auth.refusals import MOST
from bcast_grpc.auth.tokens import Verifier
from bcast_grpc.core.identity import Caller, Identity
from bcast_grpc.core.limits import Limits
from bcast_grpc.errors import CallError
from bcast_grpc.transport.scheduler import LoopScheduler
from tests import tokens
from tests.integration.peers import within


class Issuer:
    """Answers when it is told to.

    Attributes:
        answered: its answer, which may be waited for.
    """

    def __init__(self, scheduler: LoopScheduler) -> None:
        self.answered: asyncio.Future[Fetched] = asyncio.get_running_loop().create_future()
        self.keys = RemoteKeys("https://id.example/jwks", scheduler.time, lambda _: asyncio.shield(self.answered))

    def answer(self) -> None:
        """Answer now."""
        self.answered.set_result(Fetched(tokens.jwks(tokens.rsa_key()), ""))


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tokens in the order in which they are verified."""
    found: list[str] = []
    verify = Verifier.verify

    def noted(self: Verifier, token: str, keys: Sequence[Key]) -> object:
        found.append(token)
        return verify(self, token, keys)

    monkeypatch.setattr(Verifier, "verify", noted)
    return found


async def test_many_that_wait_for_keys_are_banned_as_others_are(verified: list[str]) -> None:
    """After ten wrong ones the rest of that address is refused unread; another address is let in."""
    scheduler = LoopScheduler()
    issuer = Issuer(scheduler)
    gatekeeper = Gatekeeper(Policy(remote=[issuer.keys]), scheduler, Limits())
    wrong = [tokens.token(tokens.rsa_key(1), kid="another") for _ in range(50)]
    waiting = [asyncio.create_task(_identify(gatekeeper, "10.0.0.1:5", token)) for token in wrong]
    good = asyncio.create_task(_identify(gatekeeper, "10.0.0.2:5", tokens.token()))
    await asyncio.sleep(0)
    assert verified == []
    issuer.answer()
    found = await within(asyncio.gather(*waiting, good, return_exceptions=True))
    assert isinstance(found.pop(), Identity)
    assert {type(one) for one in found} == {CallError}
    assert len(verified) == MOST + 1


async def test_keys_at_hand_need_no_waiting(verified: list[str]) -> None:
    """Neither for a good token, nor for one with a ``kid`` that nobody knows, while keys may not be fetched again."""
    scheduler = LoopScheduler()
    issuer = Issuer(scheduler)
    issuer.answer()
    gatekeeper = Gatekeeper(Policy(remote=[issuer.keys]), scheduler, Limits())
    await _identify(gatekeeper, "10.0.0.1:5", tokens.token())
    assert isinstance(gatekeeper.identify(Caller("10.0.0.1:5", tokens.token())), Identity)
    with pytest.raises(CallError):
        gatekeeper.identify(Caller("10.0.0.1:5", tokens.token(tokens.rsa_key(1), kid="another")))
    assert len(verified) == 3


async def test_a_key_that_is_removed_meanwhile_lets_nobody_in() -> None:
    """A token that waits is verified with what is in force by then."""
    scheduler = LoopScheduler()
    issuer = Issuer(scheduler)
    old = Key("", ("RS256",), tokens.rsa_key(1).public_key())
    gatekeeper = Gatekeeper(Policy(keys=[old], remote=[issuer.keys]), scheduler, Limits())
    waiting = asyncio.create_task(_identify(gatekeeper, "10.0.0.1:5", tokens.token(tokens.rsa_key(1))))
    await asyncio.sleep(0)
    gatekeeper.policy = Policy(remote=[issuer.keys])
    issuer.answer()
    with pytest.raises(CallError, match="not valid"):
        await within(waiting)


async def _identify(gatekeeper: Gatekeeper, peer: str, token: str) -> Identity:
    found = gatekeeper.identify(Caller(peer, token))
    if isinstance(found, Identity):
        return found
    finding: Coroutine[object, object, Identity] = found()
    return await finding
