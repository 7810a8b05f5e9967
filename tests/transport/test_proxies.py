"""Whose word is taken for where a client comes from, in headers of HTTP."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.transport.proxies import TrustedProxies

PROXIES = TrustedProxies(["10.0.0.0/8", "fd00::/8"])
PROXY = "10.1.2.3:4567"


@pytest.mark.parametrize(
    ("forwarded", "x_forwarded_for", "client"),
    [
        ([], ["1.2.3.4"], "1.2.3.4:0"),
        ([], ["6.6.6.6, 1.2.3.4"], "1.2.3.4:0"),
        ([], ["6.6.6.6", "1.2.3.4, 10.9.9.9"], "1.2.3.4:0"),
        ([], ["1.2.3.4:99"], "1.2.3.4:99"),
        ([], ["2001:db8::1"], "[2001:db8::1]:0"),
        ([], ["[2001:db8::1]:99"], "[2001:db8::1]:99"),
        ([], ["::ffff:1.2.3.4"], "1.2.3.4:0"),
        (["for=1.2.3.4"], [], "1.2.3.4:0"),
        (['proto=https;For="[2001:db8::1]:99";by=10.0.0.1'], [], "[2001:db8::1]:99"),
        (["for=6.6.6.6, for=1.2.3.4;by=10.0.0.1", 'for="10.9.9.9"'], [], "1.2.3.4:0"),
        (["for=1.2.3.4"], ["1.2.3.4"], "1.2.3.4:0"),
        (['host="a, for=6.6.6.6";for=1.2.3.4'], [], "1.2.3.4:0"),
        (['for="6.6.6.6', "for=1.2.3.4"], [], "1.2.3.4:0"),
        (["for=6.6.6.6;for=7.7.7.7", "for=1.2.3.4"], [], "1.2.3.4:0"),
    ],
)
def test_what_a_proxy_says_counts(forwarded: Sequence[str], x_forwarded_for: Sequence[str], client: str) -> None:
    """The last address that is no proxy's: what is before that, the client may have written."""
    assert PROXIES.client(PROXY, forwarded, x_forwarded_for) == client
    assert PROXIES.client("ipv4:10.1.2.3:4567", forwarded, x_forwarded_for) == client
    assert PROXIES.client("ipv6:%5Bfd00::1%5D:4567", forwarded, x_forwarded_for) == client


@pytest.mark.parametrize("peer", ["1.1.1.1:5", "[2001:db8::5]:5", "ipv4:1.1.1.1:5", ""])
def test_what_others_say_does_not(peer: str) -> None:
    """Their own address counts."""
    assert PROXIES.client(peer, ["for=1.2.3.4"], ["1.2.3.4"]) == peer
    assert TrustedProxies().client(PROXY, ["for=1.2.3.4"], ["1.2.3.4"]) == PROXY


@pytest.mark.parametrize(
    ("forwarded", "x_forwarded_for"),
    [
        (["for=6.6.6.6"], ["1.2.3.4"]),
        ([], ["unknown"]),
        ([], ["1.2.3.4, "]),
        ([], ["1.2.3.4, unknown"]),
        ([], ["1.2.3.4:x"]),
        ([], ["10.0.0.1"]),
        (["for=_hidden"], []),
        (["for=unknown"], []),
        (["proto=http"], []),
        (['for="6.6.6.6, for=1.2.3.4'], []),
        (["for=6.6.6.6;for=1.2.3.4"], []),
        (["for=1.2.3.4,"], []),
        (["for = 1.2.3.4"], []),
        ([""], []),
        ([], ["1.2.3.4, " + ", ".join(["10.0.0.1"] * 40)]),
        (["for=unknown"], ["1.2.3.4"]),
    ],
)
def test_what_is_not_clear_does_not_count(forwarded: Sequence[str], x_forwarded_for: Sequence[str]) -> None:
    """Nor where the two headers differ: a proxy writes one, and may pass on the other as the client wrote it."""
    assert PROXIES.client(PROXY, forwarded, x_forwarded_for) == PROXY


@given(st.lists(st.text(max_size=40), max_size=4), st.lists(st.text(max_size=40), max_size=4), st.ip_addresses(v=4))
def test_whatever_came_before_the_last_hop_does_not_matter(
    forwarded: list[str], x_forwarded_for: list[str], client: object
) -> None:
    """Nothing is raised for any text, and no text before what the proxy wrote changes the address."""
    PROXIES.client(PROXY, forwarded, x_forwarded_for)
    if not str(client).startswith("10."):
        assert PROXIES.client(PROXY, [], [*x_forwarded_for, str(client)]) == f"{client}:0"
