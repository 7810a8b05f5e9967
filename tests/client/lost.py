"""Chats whose connection is lost: they try again at once."""

from __future__ import annotations

import bcast_grpc
from bcast_grpc import Chat, Event, Kind

from .fake import FakeServer

NEVER = 3600.0


def connect(
    server: FakeServer, *, target: str = "", name: str = "ana", max_downtime_s: float | None = None, **more: object
) -> Chat:
    """A chat that tries again at once."""
    options = {"first_retry_s": 0.001, "max_retry_s": 0.002} | more
    return bcast_grpc.connect(target or server.target, name=name, max_downtime_s=max_downtime_s, **options)  # type: ignore[arg-type]


async def until(chat: Chat, kind: Kind) -> list[Event]:
    """The next events up to one of a kind, with that."""
    events = [await anext(chat)]
    while events[-1].kind is not kind:
        events.append(await anext(chat))
    return events


async def texts(chat: Chat, count: int) -> list[str]:
    """The texts of the next messages."""
    found: list[str] = []
    while len(found) < count:
        event = await anext(chat)
        if event.kind is Kind.MESSAGE:
            found.append(event.text)
    return found
