"""What many clients need is computed as the page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.scale import CLIENTS_A_SERVER, LOADS, Load, costs, needs

_PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


def test_the_page_has_the_tables_as_they_are_computed() -> None:
    """Whoever changes a cost changes the page: ``python -m benchmarks.scale`` prints both."""
    page = _PAGE.read_text()
    assert costs() in page
    assert needs() in page


@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.name)
def test_as_many_servers_as_are_needed(load: Load) -> None:
    """With those they are busy enough and no more, and hold all clients."""
    assert sum(load.cores(load.servers)) <= load.servers * 0.6
    assert load.servers * CLIENTS_A_SERVER >= load.clients


def test_a_room_is_at_no_more_servers_than_it_has_members() -> None:
    """Of few servers a large room has all; of many servers a small one has one for each member."""
    assert Load("", 1000, 1).servers_of_a_room(3) == pytest.approx(3)
    assert Load("", 2, 1).servers_of_a_room(100_000) == pytest.approx(2, rel=1e-3)
    assert Load("", 1000, 1, gathered=True).servers_of_a_room(50) == 1
    assert Load("", 50_000, 1, gathered=True).servers_of_a_room(50) == 3
