"""The event loop of the server and of the bench: uvloop if it is installed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

try:
    import uvloop
except ImportError:  # Windows, and Pythons that it does not support
    new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
else:
    new_event_loop = uvloop.new_event_loop


def spare_collections() -> None:
    """Keep the garbage collector from stopping the loop: a full collection takes some 20 ms.

    The present objects stay for the life of the process, so they are excluded. Messages live so short that collecting
    them seldom is enough.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
