"""The event loop of the server and of the bench: uvloop's where it is installed."""

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
    """Keep the garbage collector from stopping the loop: each look at all objects would take some 20 ms.

    What is there now stays for good and need not be looked at again; messages live too short to be looked at often.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
