"""A short storm with each store, and over servers that share a log; ``make soak`` runs longer ones."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from .storm import Storm
from .weather import Weather

SEED = int(os.environ.get("PROMISES_SEED") or random.randrange(1_000_000))


# Where messages are kept makes no difference to an engine: that one store is enough on the other.
@pytest.mark.parametrize(
    "store",
    [*(pytest.param(one, marks=pytest.mark.one_engine) for one in ("memory", "restored")), "sqlite", "guarded"],
)
async def test_every_promise_holds_in_a_storm(store: str, tmp_path: Path) -> None:
    """Faults of the server, its disk, clock and log, of clients, connections, tokens, and old copies of the store."""
    print(f"PROMISES_SEED={SEED}")
    durable, restores, guarded = store in ("sqlite", "restored"), store == "restored", store == "guarded"
    await _rage(Weather(durable=durable, restores=restores, guarded=guarded, seed=SEED), tmp_path)


@pytest.mark.one_engine
@pytest.mark.parametrize(("replicas", "seconds", "restores"), [(1, 10, False), (3, 20, False), (1, 10, True)])
@pytest.mark.usefixtures("nats_program")
async def test_every_promise_holds_on_servers_that_share_a_log(
    replicas: int, seconds: int, restores: bool, tmp_path: Path
) -> None:
    """Faults of three servers, of NATS, and of all between them; clients move; the log is set back, or purged."""
    print(f"PROMISES_SEED={SEED}")
    await _rage(Weather.shared(replicas, SEED, seconds, restores=restores), tmp_path)


async def _rage(weather: Weather, folder: Path) -> None:
    outcome = await Storm(weather, folder).run()
    assert not outcome.violations, f"PROMISES_SEED={SEED}\n{outcome.settings}\n" + "\n".join(outcome.violations)
    assert outcome.count["acks"] > 0
