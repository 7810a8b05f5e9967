"""A short storm with each store; ``make soak`` lets it rage for as long as wanted."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from .storm import Storm, Weather

SEED = int(os.environ.get("PROMISES_SEED") or random.randrange(1_000_000))


@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_every_promise_holds_in_a_storm(store: str, tmp_path: Path) -> None:
    """Whatever breaks: the server, its disk, clients, connections."""
    print(f"PROMISES_SEED={SEED}")
    outcome = await Storm(Weather(durable=store == "sqlite", seed=SEED), tmp_path).run()
    assert not outcome.violations, f"PROMISES_SEED={SEED}\n{outcome.settings}\n" + "\n".join(outcome.violations)
    assert outcome.count["acks"] > 0
