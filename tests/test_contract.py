"""The contract with clients: what would break them is refused by ``make lint``, what would not is not."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BUF = Path(sysconfig.get_path("scripts"), "buf")
CHAT = "bcast_grpc/v1/chat.proto"


def breaks(protos: Path) -> str:
    """Return what ``make lint`` finds that breaks clients of the last release."""
    command = [f"{BUF}", "breaking", f"{protos}", "--against", f"{ROOT / 'released'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 100), done.stderr
    assert bool(done.stdout) == (done.returncode != 0)
    return done.stdout


def test_the_contract_is_kept() -> None:
    """A client of the last release works with this version."""
    assert breaks(ROOT / "protos") == ""
    assert "breaking protos --against released" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize(
    ("was", "becomes", "named"),
    [
        ("string msg = 2;", "string text = 2;", 'Field "2" with name "text"'),
        ("bytes data = 3;", "bytes data = 16;", 'field "3"'),
        ("uint64 seq = 5;", "int32 seq = 5;", 'Field "5"'),
        ("EVENT_KIND_GAP = 7;", "EVENT_KIND_HOLE = 7;", 'Enum value "7"'),
        ("rpc Publish(PublishRequest) returns (PublishResponse);", "", 'RPC "Publish"'),
        ("returns (stream ConnectResponse)", "returns (ConnectResponse)", "server streaming"),
        ("service Chat", "service ChatService", 'service "Chat"'),
        ("package bcast_grpc.v1;", "package bcast_grpc.v2;", "package"),
    ],
)
def test_what_breaks_clients_is_named(tmp_path: Path, was: str, becomes: str, named: str) -> None:
    """Names, numbers, types, and shapes of calls."""
    protos = shutil.copytree(ROOT / "protos", tmp_path / "protos")
    text = (protos / CHAT).read_text()
    assert was in text
    (protos / CHAT).write_text(text.replace(was, becomes, 1))
    assert named in breaks(protos)


def test_what_is_added_breaks_nobody(tmp_path: Path) -> None:
    """Fields, kinds, calls."""
    protos = shutil.copytree(ROOT / "protos", tmp_path / "protos")
    text = (protos / CHAT).read_text()
    for was, added in [
        ("bytes data = 3;", "string mime_type = 16;"),
        ("EVENT_KIND_EXPIRING = 11;", "EVENT_KIND_TYPING = 12;"),
        (
            "rpc Publish(PublishRequest) returns (PublishResponse);",
            "rpc Again(PublishRequest) returns (PublishResponse);",
        ),
    ]:
        assert was in text
        text = text.replace(was, f"{was}\n{added}", 1)
    (protos / CHAT).write_text(text)
    assert breaks(protos) == ""
