"""Servers tell each other what clients have sent."""

from __future__ import annotations

from bcast_grpc.core.rate import RateLimits
from bcast_grpc.log.v1 import peers_pb2 as pb
from bcast_grpc.presence.limits import SharedLimits


def limits(burst: int = 4) -> tuple[RateLimits, SharedLimits]:
    """Limits of a server at which no time passes."""
    rates = RateLimits(1, burst, lambda: 0.0)
    shared = SharedLimits(rates, lambda: 1 << 20)
    assert list(shared.beat()) == []
    return rates, shared


def test_a_limit_is_one_for_all_servers() -> None:
    """Once they have told each other."""
    (here, tells), (there, hears) = limits(), limits()
    assert [here.take("@ana") for _ in range(4)] == [0] * 4
    assert there.take("@ana") == 0
    for message in tells.beat():
        hears.heard(message)
    assert list(tells.beat()) == []
    assert there.take("@ana") > 0
    assert there.take("@bob") == 0


def test_the_busiest_are_told_if_there_are_many() -> None:
    """And a message is no larger than NATS takes."""
    rates, shared = limits(100)
    for number in range(5000):
        for _ in range(2 if number == 4999 else 1):
            rates.take(f"@{number}")
    (message,) = shared.beat()
    assert len(message.used.usages) == 1000
    assert (message.used.usages[0].key, message.used.usages[0].messages) == ("@4999", 2)
    assert len(message.SerializeToString()) < 64 * 1024


def test_what_cannot_be_is_ignored() -> None:
    """Another server may say anything."""
    rates, shared = limits()
    shared.heard(pb.PeerMessage(used=pb.Used(usages=[pb.Usage(messages=5), pb.Usage(key="@" * 20_000, messages=5)])))
    shared.heard(pb.PeerMessage(used=pb.Used(usages=[pb.Usage(key="@ana", messages=2**32 - 1)])))
    assert rates.take("") == rates.take("@" * 20_000) == 0
    assert 0 < rates.take("@ana") < 120
