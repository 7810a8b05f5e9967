"""A kind of fault."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .storm import Storm


class Fault(NamedTuple):
    """Something that may happen in a storm.

    Attributes:
        weight: how often it does, beside the others.
        happen: lets it happen, and ends when it is over.
    """

    name: str
    weight: int
    happen: Callable[[Storm], Coroutine[None, None, None]]
