"""What the tests of ``python -m bcast_grpc.store`` share."""

from secrets import token_hex

import pytest


@pytest.fixture
def cluster() -> str:
    """The name of a cluster that nobody else uses."""
    return token_hex(4)
