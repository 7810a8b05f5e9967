"""Where the client connects to, as people write it."""

from __future__ import annotations

import pytest

import bcast_grpc
from bcast_grpc.client.address import MAX_TARGETS, Address, check_target, is_local, read_targets, wants_tls


@pytest.mark.parametrize(
    ("given_target", "target"),
    [
        ("127.0.0.1:4000", "127.0.0.1:4000"),
        ("grpc://127.0.0.1:4000", "127.0.0.1:4000"),
        ("127.1:4000", "127.0.0.1:4000"),
        ("chat.example", "chat.example:50051"),
        ("[::1]:4000", "[::1]:4000"),
        ("[::1]", "[::1]:50051"),
        ("dns:4000", "dns:4000"),
        ("dns:///chat.example:4000", "dns:///chat.example:4000"),
        ("unix:/run/bcast.sock", "unix:/run/bcast.sock"),
    ],
)
def test_an_address_is_taken_as_people_write_it(given_target: str, target: str) -> None:
    """Port 50051 is understood, not 443; a name that gRPC alone understands is left to it."""
    assert check_target(given_target) == target


@pytest.mark.parametrize("target", [":4000", "a b:4000", "host:", "host:0", "host:65536", "host:http", "::1", "a/b"])
def test_what_is_no_address_is_refused_before_anything_is_tried(target: str) -> None:
    """Else gRPC takes the port modulo 65536, and looks for names that cannot be."""
    with pytest.raises(ValueError, match="must be HOST:PORT, such as 127"):
        bcast_grpc.connect(target)


@pytest.mark.parametrize(
    ("target", "local"),
    [
        ("127.0.0.1:4000", True),
        ("127.1:4000", True),
        ("2130706433:4000", True),
        ("0x7f.1", True),
        ("0.0.0.0:4000", True),
        ("127.8.9.10", True),
        ("localhost", True),
        ("grpc://LocalHost:4000", True),
        ("localhost.:4000", True),
        ("chat.localhost", True),
        ("ip6-localhost", True),
        ("[::1]:4000", True),
        ("[::]", True),
        ("[::ffff:127.0.0.1]:4000", True),
        ("[0:0::1]", True),
        ("dns:///localhost:4000", True),
        ("dns:localhost", True),
        ("dns://8.8.8.8/localhost:4000", True),
        ("ipv4:127.0.0.1:4000", True),
        ("ipv6:[::1]:4000", True),
        ("unix:/run/bcast.sock", True),
        ("unix:///run/bcast.sock", True),
        ("unix-abstract:bcast", True),
        ("10.0.0.1:4000", False),
        ("128.1", False),
        ("chat.example", False),
        ("localhost.example", False),
        ("mylocalhost", False),
        ("[2001:db8::1]:4000", False),
        ("dns:///chat.example:4000", False),
        ("ipv4:10.0.0.1:4000", False),
    ],
)
def test_what_is_on_this_machine_is_known_however_it_is_spelled(target: str, local: bool) -> None:
    """No proxy of the environment is asked for it; for anything else gRPC's rules hold."""
    assert is_local(check_target(target)) is local


@pytest.mark.parametrize(
    ("given_target", "targets"),
    [
        ("a:1,b:2", ["a:1", "b:2"]),
        (" a , b:2 ", ["a:50051", "b:2"]),
        (["a:1", "b:2,c:3"], ["a:1", "b:2", "c:3"]),
        ("grpcs://a:1,b:2", ["a:1", "b:2"]),
        ("grpcs://a:1,grpcs://b:2", ["a:1", "b:2"]),
        ("grpc://a:1,b:2", ["a:1", "b:2"]),
        ("[::1]:1,[::2]", ["[::1]:1", "[::2]:50051"]),
        ("127.1:4,127.0.0.1:4", ["127.0.0.1:4"]),
        ("ipv4:10.0.0.1:1,10.0.0.2:2", ["ipv4:10.0.0.1:1", "ipv4:10.0.0.2:2"]),
        ("ipv6:[::1]:1,[::2]:2", ["ipv6:[::1]:1", "ipv6:[::2]:2"]),
        ("unix:/run/a,b.sock", ["unix:/run/a,b.sock"]),
        ("unix:/run/a.sock,unix:/run/b.sock", ["unix:/run/a.sock", "unix:/run/b.sock"]),
        ("a:1,dns:///b:2", ["a:1", "dns:///b:2"]),
    ],
)
def test_several_are_separated_by_commas(given_target: str | list[str], targets: list[str]) -> None:
    """Or are a list; none twice. What gRPC alone understands is left to it, a path with a comma in it too."""
    assert [str(each) for each in read_targets(given_target)] == targets


@pytest.mark.parametrize("target", ["a:1,b:x", "a b,c", ["a:1", "b:x"]])
def test_each_of_several_must_be_an_address(target: str | list[str]) -> None:
    """The one that is not is shown."""
    with pytest.raises(ValueError, match="is not an address; it must be HOST:PORT"):
        bcast_grpc.connect(target)


@pytest.mark.parametrize(
    "target", ["a:1,grpcs://b:2", "grpcs://a:1,grpc://b:2", "grpc://a:1,grpcs://b:2", "unix:/a,grpcs://b:2"]
)
def test_the_security_is_the_same_for_all(target: str) -> None:
    """A token for a server with TLS must not go to one without."""
    with pytest.raises(ValueError, match="ask for different security; write grpcs:// before the first"):
        bcast_grpc.connect(target)


def test_the_first_says_whether_there_is_tls() -> None:
    """For all."""
    assert wants_tls("grpcs://a,b")
    assert wants_tls(["grpcs://a", "b"])
    assert not wants_tls("a,b")


def test_there_are_not_too_many() -> None:
    """Each may cost a connection."""
    assert len(read_targets([f"a:{port}" for port in range(1, MAX_TARGETS + 1)])) == MAX_TARGETS
    with pytest.raises(ValueError, match="there are 65 addresses; at most 64 are allowed"):
        read_targets(",".join(f"a:{port}" for port in range(1, MAX_TARGETS + 2)))
    with pytest.raises(ValueError, match="there is none; it must be HOST:PORT"):
        bcast_grpc.connect([])


def test_an_address_of_a_name_says_both() -> None:
    """It is connected to; the certificate must be for the name."""
    address = Address("[fd00::1]:4000", "chat.example:4000")
    assert str(address) == "chat.example:4000 (fd00::1)"
    assert (address.host_port, address.server_name) == (("fd00::1", 4000), "chat.example")
    assert Address("unix:/run/bcast.sock").host_port is None
