"""Where a call goes to and what it says of its caller, before anything is tried."""

from __future__ import annotations

import subprocess
import sys
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bcast_grpc
from bcast_grpc.client.dial import call_metadata, check_target, is_local


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


@pytest.mark.parametrize(
    "target", ["", ":4000", "a b:4000", "host:", "host:0", "host:65536", "host:http", "::1", "a/b"]
)
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
        ("ipv4:127.0.0.1:4000,127.0.0.2:4000", True),
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
        ("ipv4:127.0.0.1:4000,10.0.0.1:4000", False),
    ],
)
def test_what_is_on_this_machine_is_known_however_it_is_spelled(target: str, local: bool) -> None:
    """No proxy of the environment is asked for it; for anything else gRPC's rules hold."""
    assert is_local(check_target(target)) is local


def metadata_of(name: str = "", token: str = "") -> dict[str, str]:
    """What is sent for a client of this name."""
    return dict(call_metadata(name=name, room="", client="", events=None, echo=False, token=token))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_text_arrives(text: str) -> None:
    """As ASCII that gRPC carries, and that decodes to the same."""
    sent = metadata_of(text)["bcast-name"]
    assert all("!" <= character <= "~" for character in sent)
    assert unquote(sent) == text


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="%"), min_size=1))
def test_plain_ascii_stays_readable(text: str) -> None:
    """A space and a % apart."""
    assert metadata_of(text)["bcast-name"] == text


@pytest.mark.parametrize("token", ["with space", "línea", "new\nline"])
def test_a_token_that_cannot_be_sent_is_refused(token: str) -> None:
    """It is not shown in the error."""
    with pytest.raises(ValueError, match=r"^token: must be printable ASCII characters without spaces$"):
        bcast_grpc.connect(token=token)


def test_a_text_that_is_no_unicode_is_refused() -> None:
    """Half a surrogate pair has no UTF-8."""
    with pytest.raises(ValueError, match="surrogates not allowed"):
        bcast_grpc.connect(name="\ud800")


@pytest.mark.parametrize("name", bcast_grpc.__all__)
def test_every_public_name_is_there(name: str) -> None:
    """And of the package's own."""
    assert name in dir(bcast_grpc)
    assert getattr(bcast_grpc, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        bcast_grpc.nothing  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(("module", "absent"), [("bcast_grpc", "grpc"), ("bcast_grpc.errors", "bcast_grpc.client")])
def test_nothing_is_imported_before_it_is_used(module: str, absent: str) -> None:
    """A server needs no client."""
    program = f"import sys, {module}; sys.exit({absent!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_the_client_imports_nothing_of_the_server() -> None:
    """It stands beside it."""
    program = (
        "import sys, bcast_grpc.client.chat, bcast_grpc.client.sync\n"
        "sys.exit(any(name.startswith(('bcast_grpc.core', 'bcast_grpc.broker', 'bcast_grpc.transport', "
        "'bcast_grpc.server')) for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
