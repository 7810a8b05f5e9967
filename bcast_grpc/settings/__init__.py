"""Every setting of the server, declared once, in ``settings``.

Nothing here reads anything from outside: ``bcast_grpc.server.arguments`` does that.
"""

from bcast_grpc.settings.checks import EMBEDDED, NATS_SCHEMES
from bcast_grpc.settings.settings import PREFIX, Settings, SettingsError, explain_unknown, say_what_fits, show
from bcast_grpc.settings.values import Accepts

__all__ = [
    "EMBEDDED",
    "NATS_SCHEMES",
    "PREFIX",
    "Accepts",
    "Settings",
    "SettingsError",
    "explain_unknown",
    "say_what_fits",
    "show",
]
