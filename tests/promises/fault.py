"""A kind of fault."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .storm import Storm

ANY_SERVER = frozenset({"server"})
"""What happens to servers, where something may happen to all of them at once."""


class Fault(NamedTuple):
    """Something that may happen in a storm.

    Attributes:
        weight: how often it does, beside the others.
        happen: lets it happen, and ends when it is over.
        what: what it happens to, if no other fault may happen to that meanwhile.
    """

    name: str
    weight: int
    happen: Callable[[Storm], Coroutine[None, None, None]]
    what: frozenset[str] = frozenset()
