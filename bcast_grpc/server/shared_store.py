"""Makes the broker of a server that shares its rooms with others over NATS."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bcast_grpc.broker.history import Retention
from bcast_grpc.settings import Settings
from bcast_grpc.transport.address import CannotStart

if TYPE_CHECKING:
    from bcast_grpc.broker.base import Broker


def shared_broker(settings: Settings, retention: Retention) -> Broker:
    """Return the broker over the NATS servers that ``store`` names. It connects when it is started.

    Raises:
        CannotStart: nats-py is missing, or a file cannot be used.
    """
    try:
        from bcast_grpc.broker.nats.broker import Cluster, NatsBroker
        from bcast_grpc.broker.nats.connection import Target
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "nats":
            raise
        raise CannotStart(f"store={settings.store} needs nats-py: pip install 'bcast-grpc[nats]'") from None
    scheme, _, servers = settings.store.partition("://")
    target = Target(
        [f"{scheme}://{server}" for server in servers.split(",")],
        _login(settings, demands_tls=scheme == "tls"),
        demands_tls=scheme == "tls",
    )
    cluster = Cluster(
        target,
        settings.cluster,
        replicas=settings.store_replicas,
        create=settings.store_create == "yes",
        patience_s=settings.broker_patience_s,
        message_bytes=settings.max_message_bytes,
    )
    return NatsBroker(cluster, retention)


def _login(settings: Settings, *, demands_tls: bool) -> dict[str, Any]:
    """Return the arguments of nats-py's ``connect`` by which the server logs in."""
    login: dict[str, Any] = {}
    if settings.store_user is not None and settings.store_password_file is not None:
        login |= {"user": settings.store_user, "password": _Password(settings.store_password_file)}
    if settings.store_nkey_file is not None:
        _read(settings.store_nkey_file)
        login["nkeys_seed"] = str(settings.store_nkey_file)
    if settings.store_creds is not None:
        _read(settings.store_creds)
        login["user_credentials"] = str(settings.store_creds)
    if demands_tls or settings.store_ca or settings.store_cert:
        login["tls"] = _trust(settings)
    return login


class _Password:
    """Reads the password again for each connection, because it may have been changed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._last = _read(file)

    def __call__(self) -> str:
        with suppress(CannotStart):  # the file may be replaced at this very moment
            self._last = _read(self._file)
        return self._last


def _read(file: Path) -> str:
    """Return a secret: the file's first line."""
    try:
        return file.read_text().partition("\n")[0]
    except (OSError, ValueError) as error:
        raise CannotStart(f"{file}: cannot be read: {error}") from None


def _trust(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.store_ca)
        if settings.store_cert is not None:
            context.load_cert_chain(settings.store_cert, settings.store_key)
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(str(file) for file in (settings.store_ca, settings.store_cert, settings.store_key) if file)
        raise CannotStart(f"{files}: cannot be used for TLS to NATS: {error}") from None
    return context
