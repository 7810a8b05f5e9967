"""A server that speaks TLS and knows its clients, and what those come with: tokens that soon expire."""

from __future__ import annotations

import random
import ssl
import time
from pathlib import Path

import grpc
import jwt

from tests.authority import Authority, shared_ca
from tests.integration.peers import SCALE

_SECRET = "a secret of more than thirty-two bytes"
_LIFE_S = (1.0, 4.0)
_LONG_S = 3600.0


class Guard:
    """What clients need to get in.

    Args:
        folder: for the server's files.

    Attributes:
        settings: of the server.
        context: for clients with sockets of their own.
        credentials: for clients of gRPC.
        calm: whether tokens hold for long from now on.
    """

    def __init__(self, folder: Path) -> None:
        secret = folder / "secret"
        secret.write_text(_SECRET)
        authority = Authority(folder, shared_ca())
        self.calm = False
        self.settings = [*authority.sign("server").flags, "--token-keys", str(secret)]
        self.context: ssl.SSLContext = authority.context()
        self.credentials = grpc.ssl_channel_credentials(authority.pem)

    def token(self, subject: str, *, lasting: bool = False) -> str:
        """Return a token that holds for some seconds; streams end with it, unless they present another."""
        life_s = _LONG_S if lasting or self.calm else random.uniform(*_LIFE_S) * SCALE
        return jwt.encode({"sub": subject, "exp": time.time() + life_s}, _SECRET, "HS256")
