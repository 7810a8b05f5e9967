"""What a call says of its caller, before anything is tried."""

from __future__ import annotations

import subprocess
import sys
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bcast_grpc
from bcast_grpc.client.dial import call_metadata


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
