"""A short storm with each store; ``make soak`` runs longer ones."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from .storm import Storm, Weather

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
    weather = Weather(durable=durable, restores=restores, guarded=guarded, seed=SEED)
    outcome = await Storm(weather, tmp_path).run()
    assert not outcome.violations, f"PROMISES_SEED={SEED}\n{outcome.settings}\n" + "\n".join(outcome.violations)
    assert outcome.count["acks"] > 0
