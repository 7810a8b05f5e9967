"""Broadcast over gRPC: whatever a client sends, every other client connected to the same room receives."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bcast_grpc.client.chat import Chat, connect
    from bcast_grpc.client.sync import SyncChat, connect_sync
    from bcast_grpc.client.tls import Tls
    from bcast_grpc.client.token import TokenFile
    from bcast_grpc.errors import (
        BacklogFull,
        BcastError,
        CallError,
        ChatClosed,
        ConnectionLost,
        ErrorCode,
        RequestError,
    )
    from bcast_grpc.events import (
        Ack,
        Author,
        Closing,
        Error,
        Event,
        Gap,
        GapReason,
        Kind,
        Member,
        Members,
        Reconnecting,
        Resumed,
        Welcome,
    )
    from bcast_grpc.server.server import Server
    from bcast_grpc.server.sync import SyncServer
    from bcast_grpc.settings import Settings, SettingsError
    from bcast_grpc.transport.address import CannotStart

__version__ = "0.1.0"

__all__ = [
    "Ack",
    "Author",
    "BacklogFull",
    "BcastError",
    "CallError",
    "CannotStart",
    "Chat",
    "ChatClosed",
    "Closing",
    "ConnectionLost",
    "Error",
    "ErrorCode",
    "Event",
    "Gap",
    "GapReason",
    "Kind",
    "Member",
    "Members",
    "Reconnecting",
    "RequestError",
    "Resumed",
    "Server",
    "Settings",
    "SettingsError",
    "SyncChat",
    "SyncServer",
    "Tls",
    "TokenFile",
    "Welcome",
    "__version__",
    "connect",
    "connect_sync",
]

_MODULES = {
    "bcast_grpc.client.chat": ("Chat", "connect"),
    "bcast_grpc.client.sync": ("SyncChat", "connect_sync"),
    "bcast_grpc.client.tls": ("Tls",),
    "bcast_grpc.client.token": ("TokenFile",),
    "bcast_grpc.errors": (
        "BacklogFull",
        "BcastError",
        "CallError",
        "ChatClosed",
        "ConnectionLost",
        "ErrorCode",
        "RequestError",
    ),
    "bcast_grpc.events": (
        "Ack",
        "Author",
        "Closing",
        "Error",
        "Event",
        "Gap",
        "GapReason",
        "Kind",
        "Member",
        "Members",
        "Reconnecting",
        "Resumed",
        "Welcome",
    ),
    "bcast_grpc.server.server": ("Server",),
    "bcast_grpc.server.sync": ("SyncServer",),
    "bcast_grpc.settings": ("Settings", "SettingsError"),
    "bcast_grpc.transport.address": ("CannotStart",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


if not TYPE_CHECKING:  # otherwise a type checker would accept any name

    def __getattr__(name: str) -> object:
        # Imported when it is used: a server needs no client, and a client no server.
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
        return value


def __dir__() -> list[str]:
    return __all__
