"""Who is served, by the settings alone."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from bcast_grpc.server.addresses import check_exposure
from bcast_grpc.settings import Settings
from bcast_grpc.transport.address import CannotStart

TLS = {"tls_cert": Path("cert.pem"), "tls_key": Path("key.pem")}
KNOWING: dict[str, dict[str, Any]] = {
    "nothing": {},
    "tokens": {"token_keys": ("keys.json",)},
    "certificates": {"tls_client_ca": Path("ca.pem")},
    "rights": {"rights": Path("rights.toml")},
}


def closed(**settings: Any) -> str:
    """Return why a server does not start; empty if it does."""
    try:
        check_exposure(Settings(**settings))
    except CannotStart as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("host", "tls", "knows", "waiver"),
    [
        (host, tls, knows, waiver)
        for host, tls, knows, waiver in product(
            ["127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "192.0.2.1", "chat.example"],
            [False, True],
            KNOWING,
            ["", "plaintext", "open"],
        )
        if not (knows == "certificates" and not tls) and not (knows == "tokens" and waiver == "open")
    ],
)
def test_closed_unless_opened(host: str, tls: bool, knows: str, waiver: str) -> None:
    """Off loopback there must be TLS and something by which clients are known; two settings waive that."""
    why = closed(host=host, **(TLS if tls else {}), **KNOWING[knows], **({waiver: True} if waiver else {}))
    on_loopback = host in ("127.0.0.1", "::1", "localhost")
    encrypted = tls or waiver == "plaintext"
    assert (not why) is (on_loopback or waiver == "open" or (encrypted and knows != "nothing"))


def test_the_refusal_names_the_ways_out() -> None:
    """What is missing, and lines that can be pasted; not the one that would contradict what is set."""
    why = closed(host="192.0.2.1")
    assert why.startswith("--host 192.0.2.1: other machines reach this address, and there is no TLS and no way to")
    for flags in ("--tls-cert FILE --tls-key FILE --token-keys FILE", "--plaintext --token-keys FILE", "--open"):
        assert f"\n  {flags} " in why
    assert "--open" not in closed(host="192.0.2.1", token_keys=("keys.json",))
    assert "and there is no TLS. Add" in closed(host="192.0.2.1", token_keys=("keys.json",))
    assert "and there is no way to identify clients. Add" in closed(host="192.0.2.1", **TLS)
