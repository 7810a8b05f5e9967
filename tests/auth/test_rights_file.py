"""The file of rights."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bcast_grpc.auth.faults import Unusable
from bcast_grpc.auth.rights import read_rights
from bcast_grpc.core.identity import NO_RIGHTS, Rights

EXAMPLE = """
[anonymous]
"lobby" = ["join", "send"]

[subjects."deploy-bot"]
"*" = ["send"]

[subjects.ana]
"public/secret" = []

[everyone]
"public/*" = ["join", "send", "history", "who"]
"""


def test_a_subjects_own_table_comes_first(tmp_path: Path) -> None:
    """Then what everyone may; an empty list refuses, and what nobody grants is refused."""
    path = tmp_path / "rights.toml"
    path.write_text(EXAMPLE)
    rights = read_rights(path)
    everything = Rights(join=True, send=True, history=True, who=True)
    expected = {
        ("", "lobby"): Rights(join=True, send=True),
        ("", "public/x"): NO_RIGHTS,
        ("deploy-bot", "public/x"): Rights(send=True),
        ("ana", "public/x"): everything,
        ("ana", "public/secret"): NO_RIGHTS,
        ("ana", "lobby"): NO_RIGHTS,
        ("eva", "public/secret"): everything,
    }
    assert {who: rights.of(*who) for who in expected} == expected


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Nobody may ever write to it, and the second reading would find it empty."""
    path = tmp_path / "rights.toml"
    os.mkfifo(path)
    with pytest.raises(Unusable, match="is not a regular file"):
        read_rights(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("x", "is not TOML"),
        ("\xff", "is not TOML"),
        ("everyone = " + "[" * 10_000, "nested too deeply"),
        ("[everybody]", "[everybody] is not a known table (did you mean everyone?); use anonymous, subjects, everyone"),
        ("everyone = 1", 'everyone must be a table, such as [everyone] and below it "lobby" = ["join"]'),
        ("[subjects]\nana = 1", "subjects.ana must be a table"),
        ('[everyone]\n"*" = "join"', '[everyone] "*" must be a list of rights, such as ["join", "send"]'),
        ('[everyone]\n"*" = [1]', '[everyone] "*" must be a list of rights'),
        (
            '[subjects.ana]\n"*" = ["sent"]',
            '[subjects."ana"] "*": \'sent\' is not a right (did you mean send?); use join, ',
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, content: str, says: str) -> None:
    """A typing error is no right less, but a fault."""
    path = tmp_path / "rights.toml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(Unusable) as raised:
        read_rights(path)
    assert f"{path}: " in str(raised.value)
    assert says in str(raised.value)
