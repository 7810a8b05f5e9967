"""Makes the parts of a server from its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from bcast_grpc.broker.base import Broker, CannotOpen
from bcast_grpc.broker.budget import Budget
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.memory import MemoryBroker
from bcast_grpc.broker.sqlite import SqliteBroker
from bcast_grpc.core.limits import Limits, SlowPolicy
from bcast_grpc.core.peers import PeerCounts
from bcast_grpc.core.presence import LocalPresence, Presence
from bcast_grpc.core.rate import RateLimits
from bcast_grpc.server.addresses import addresses
from bcast_grpc.server.machine.descriptors import Descriptors
from bcast_grpc.server.machine.memory import ProcessMemory
from bcast_grpc.server.share import ALONE, Worker
from bcast_grpc.server.shared_store import check_nats_py, embedded_nats, shared_rooms
from bcast_grpc.settings import EMBEDDED, NATS_SCHEMES, Settings
from bcast_grpc.transport.address import CannotStart
from bcast_grpc.transport.connections import Connections
from bcast_grpc.transport.door import Door, Shared
from bcast_grpc.transport.grpc.door import GrpcDoor
from bcast_grpc.transport.grpcio_door import GrpcioDoor
from bcast_grpc.transport.proxies import TrustedProxies
from bcast_grpc.transport.tcp_door import TcpDoor
from bcast_grpc.transport.tls.certificates import Certificates
from bcast_grpc.transport.unfinished import Unfinished

if TYPE_CHECKING:
    from bcast_grpc.server.embedded.nats import EmbeddedNats

_CONNECTIONS_BESIDES = 100
"""How many connections an address may have that carry no client: refused ones, health checks, the page."""


def certificates(settings: Settings) -> Certificates | None:
    """Return the certificates for TLS; None for no TLS.

    Raises:
        CannotStart: a file cannot be used.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return Certificates(settings.tls_cert, settings.tls_key, settings.tls_client_ca)


def connections(
    limits: Limits, descriptors: Descriptors, memory: ProcessMemory, budget: Budget, *, proxies: Sequence[str]
) -> Connections:
    """Return the connections of all doors, bounded for each address.

    An address may have a few more connections than clients, so that further clients can be refused with a reason; but
    not as many as the system allows in all.
    """
    most = limits.max_clients_per_peer
    if most:
        most = min(most + _CONNECTIONS_BESIDES, descriptors.connections * 9 // 10 or 1)
    counts = PeerCounts(most, spares_loopback=limits.spares_loopback)
    return Connections(
        lambda: descriptors.crowded or memory.crowded, counts, TrustedProxies(proxies), Unfinished(budget)
    )


def warnings(settings: Settings) -> Iterator[str]:
    """Yield what the settings ask for and the server does not do."""
    if settings.grpc_engine != "grpcio":
        return
    if settings.trusted_proxy:
        yield (
            "with grpc-engine grpcio the gRPC port does not understand the PROXY protocol: a proxy in trusted-proxy"
            " must send Forwarded or X-Forwarded-For there; grpc-engine native understands both"
        )
    if settings.max_clients_per_peer and "max_clients_per_peer" in settings.model_fields_set:
        yield (
            "with grpc-engine grpcio max-clients-per-peer bounds the clients of an address at the gRPC port,"
            " but not its connections; grpc-engine native bounds both"
        )


def limits(settings: Settings, worker: Worker = ALONE) -> Limits:
    """Return the bounds of the core; a worker has its share of those that stand for the whole server."""
    is_set = "max_clients_per_peer" in settings.model_fields_set
    # If it is set, one address may take all places. The default leaves some places to others, however few there are.
    most = settings.max_clients_per_peer if is_set else min(settings.max_clients_per_peer, _most_of(settings))
    return Limits(
        max_clients=worker.share(settings.max_clients),
        max_clients_per_peer=worker.share(most) if most else 0,
        # A proxy on this machine then needs no set-up. If trusted-proxy names it, its clients have their own addresses.
        spares_loopback=not (is_set or settings.trusted_proxy),
        max_message_bytes=settings.max_message_bytes,
        queue_messages=settings.queue_messages,
        queue_bytes=settings.queue_bytes,
        rate=settings.rate,
        burst=settings.burst or 1,
        slow_policy=SlowPolicy(settings.slow_policy),
    )


def _most_of(settings: Settings) -> int:
    """Return nine tenths of all places, and one at least."""
    return settings.max_clients * 9 // 10 or 1


class Backend(NamedTuple):
    """What a server shares with others, or keeps when it ends.

    Attributes:
        broker: puts the messages of each room in order, and keeps them.
        presence: knows who is in each room.
        share: called with the rates of clients, if those are limited, to be shared with other servers.
        nats: a NATS server that is started before the broker, and ended after it; None for none.
    """

    broker: Broker
    presence: Presence
    share: Callable[[RateLimits], object] = lambda _: None
    nats: EmbeddedNats | None = None


def backend(settings: Settings, budget: Budget) -> Backend:
    """Return what ``store`` names.

    Raises:
        CannotStart: the store cannot be used.
    """
    retention = _retention(settings, budget)
    if settings.store == "memory:":
        return Backend(MemoryBroker(retention), LocalPresence())
    if settings.store.startswith(EMBEDDED):
        check_nats_py(settings)
        nats = embedded_nats(settings)
        return Backend(*shared_rooms(nats.used_by(settings), retention), nats)
    if settings.store.startswith(NATS_SCHEMES):
        return Backend(*shared_rooms(settings, retention))
    with cannot_start():
        return Backend(SqliteBroker(settings.store.removeprefix("sqlite:"), retention), LocalPresence())


@contextmanager
def cannot_start() -> Iterator[None]:
    """Raise a store's error as one of the server.

    Raises:
        CannotStart: in place of ``CannotOpen``.
    """
    try:
        yield
    except CannotOpen as error:
        raise CannotStart(str(error)) from None


def _retention(settings: Settings, budget: Budget) -> Retention:
    return Retention(
        messages=settings.history_messages,
        bytes=settings.history_bytes,
        age_s=settings.history_age_s,
        dedup_s=settings.dedup_s,
        budget=budget,
    )


def doors(settings: Settings, shared: Shared, max_connections: int, worker: Worker) -> Iterator[Door]:
    """Yield the doors that the settings ask for. The server knows nothing else about the kinds of doors."""
    at = {one.setting: one._replace(given=worker.sockets.get(one.setting, ())) for one in addresses(settings)}
    grpc = at["port"]
    if settings.grpc_engine == "native":
        yield GrpcDoor(shared, grpc, max_streams=settings.max_streams_per_connection)
    else:
        yield GrpcioDoor(shared, grpc, max_streams=settings.max_streams_per_connection, max_connections=max_connections)
    if settings.http_port is not None:
        from bcast_grpc.transport.http_door import HttpDoor  # importing aiohttp takes a third of the server's start

        yield HttpDoor(shared, at["http-port"], settings.http_allow_origin, worker.siblings)
    if settings.tcp_port is not None:
        yield TcpDoor(shared, at["tcp-port"])
