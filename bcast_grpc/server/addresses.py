"""Where a server listens, and whether that is safe. A supervisor needs no more of a server than this."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bcast_grpc.settings import Settings
from bcast_grpc.transport.address import Address, CannotStart, is_loopback


def addresses(settings: Settings) -> Iterator[Address]:
    """Yield where the doors listen that the settings ask for."""
    ports = {"port": settings.port, "http-port": settings.http_port, "tcp-port": settings.tcp_port}
    for setting, port in ports.items():
        if port is not None:
            yield Address(settings.host, port, setting)


def check_exposure(settings: Settings) -> None:
    """Check that other machines are served only if the settings say who may connect.

    Raises:
        CannotStart: the host is not loopback, and TLS or a way to identify clients is missing.
    """
    if is_loopback(settings.host) or settings.open:
        return
    missing = [] if settings.tls_cert or settings.plaintext else ["TLS"]
    if not (settings.token_keys or settings.tls_client_ca or settings.rights):
        missing.append("way to identify clients")
    if missing:
        raise CannotStart(_closed(settings, missing))


def _closed(settings: Settings, missing: Sequence[str]) -> str:
    without = " and ".join(f"no {one}" for one in missing)
    lines = [
        f"--host {settings.host}: other machines reach this address, and there is {without}. Add one of these:",
        "  --tls-cert FILE --tls-key FILE --token-keys FILE     clients present tokens",
        "                                                       (a key: python -m bcast_grpc.token --new-secret FILE)",
        "  --tls-cert FILE --tls-key FILE --tls-client-ca FILE  clients present certificates",
        "  --plaintext --token-keys FILE                        a proxy in front of the server ends TLS",
    ]
    if not settings.token_keys:
        lines.append("  --open                                               anyone may read and write, unencrypted")
    return "\n".join(lines)
