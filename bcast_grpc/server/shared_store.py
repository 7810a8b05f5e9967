"""Makes the broker and the presence of a server that shares its rooms with others over NATS, or over one of its own."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bcast_grpc.broker.history import Retention
from bcast_grpc.server.nats_keys import Credentials, read_file, read_seed
from bcast_grpc.settings import Settings
from bcast_grpc.transport.address import CannotStart

if TYPE_CHECKING:
    from bcast_grpc.broker.base import Broker
    from bcast_grpc.broker.nats.cluster import Cluster
    from bcast_grpc.core.presence import Presence
    from bcast_grpc.core.rate import RateLimits
    from bcast_grpc.server.embedded.nats import EmbeddedNats


def check_nats_py(settings: Settings) -> None:
    """Check that nats-py is there. A supervisor does not: to import it would cost it ten megabytes, and workers tell.

    Raises:
        CannotStart: it is missing.
    """
    try:
        import nats  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "nats":
            raise
        raise CannotStart(f"store={settings.store} needs nats-py: pip install 'bcast-grpc[nats]'") from None


def embedded_nats(settings: Settings) -> EmbeddedNats:
    """Return the NATS server that is to be started for this one.

    Raises:
        CannotStart: the program is missing, or the folder cannot be used.
    """
    from bcast_grpc.server.embedded.nats import EmbeddedNats

    return EmbeddedNats(settings)


def shared_rooms(settings: Settings, retention: Retention) -> tuple[Broker, Presence, Callable[[RateLimits], object]]:
    """Return the broker over the NATS servers that ``store`` names, the presence, and what shares limits.

    The broker connects when it is started.

    Raises:
        CannotStart: nats-py is missing, or a file cannot be used.
    """
    cluster = cluster_of(settings)
    from bcast_grpc.broker.nats.broker import NatsBroker
    from bcast_grpc.presence.limits import SharedLimits
    from bcast_grpc.presence.shared import SharedPresence

    broker = NatsBroker(cluster, retention)
    talk = broker.talk

    def share(rates: RateLimits) -> None:
        talk.attach(SharedLimits(rates, lambda: talk.max_bytes))

    return broker, SharedPresence(broker.me.name, talk), share


def cluster_of(settings: Settings) -> Cluster:
    """Return which log in NATS the settings name, and how to log in there.

    Raises:
        CannotStart: nats-py is missing, or a file cannot be used.
    """
    check_nats_py(settings)
    from bcast_grpc.broker.nats.cluster import Cluster
    from bcast_grpc.broker.nats.connection.target import Target

    scheme, _, servers = settings.store.partition("://")
    target = Target(
        [f"{scheme}://{server}" for server in servers.split(",")],
        _login(settings, demands_tls=scheme == "tls"),
        demands_tls=scheme == "tls",
    )
    return Cluster(
        target,
        settings.cluster,
        replicas=settings.store_replicas,
        create=settings.store_create != "no",
        update=settings.store_create == "update",
        patience_s=settings.broker_patience_s,
        message_bytes=settings.max_message_bytes,
        port=settings.port,
    )


def _login(settings: Settings, *, demands_tls: bool) -> dict[str, Any]:
    """Return the arguments of nats-py's ``connect`` by which the server logs in."""
    login: dict[str, Any] = {}
    if settings.store_user is not None and settings.store_password_file is not None:
        login |= {"user": settings.store_user, "password": _Password(settings.store_password_file)}
    if settings.store_nkey_file is not None:
        login["nkeys_seed_str"] = read_seed(settings.store_nkey_file)
    if settings.store_creds is not None:
        login["user_credentials"] = Credentials(settings.store_creds)
    if demands_tls or settings.store_ca or settings.store_cert:
        login["tls"] = _trust(settings)
    return login


class _Password:
    """Reads the password again for each connection, because it may have been changed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._last = _first_line(file)

    def __call__(self) -> str:
        with suppress(CannotStart):  # the file may be replaced at this very moment
            self._last = _first_line(self._file)
        return self._last


def _first_line(file: Path) -> str:
    return read_file(file).partition("\n")[0]


def _trust(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.store_ca)
        if settings.store_cert is not None:
            context.load_cert_chain(settings.store_cert, settings.store_key)
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(str(file) for file in (settings.store_ca, settings.store_cert, settings.store_key) if file)
        raise CannotStart(f"{files}: cannot be used for TLS to NATS: {error}") from None
    return context
