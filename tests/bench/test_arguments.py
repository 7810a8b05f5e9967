"""A command line is understood, or refused with a word on what would be right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from bcast_grpc import __version__
from bcast_grpc.bench.arguments import Options, parse, usable_cores
from bcast_grpc.client.tls import Tls


def test_what_is_not_given_has_a_default() -> None:
    """A hundred clients on this machine, ten of which send."""
    assert parse([], {}) == Options(target="127.0.0.1:50051", processes=min(usable_cores(), 100))
    few = parse(["--clients", "1"], {})
    assert (few.senders, few.processes) == (1, 1)


def test_the_connection_is_given_as_to_the_terminal_client(tmp_path: Path) -> None:
    """On the command line or in the environment."""
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(path)
    given = parse(["grpc://chat.example/", "--tls-ca", str(path)], {"BCAST_TARGET": "other:1", "BCAST_TOKEN": "s\n"})
    assert (given.target, given.token, given.tls) == ("chat.example:50051", "s", Tls(str(path)))
    assert parse(["--token", "t"], {"BCAST_TARGET": "other:1", "BCAST_TOKEN": "s"}).token == "t"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--clients", "0"], "--clients: '0' is not a whole number from 1 to"),
        (["--clients", "many"], "'many' is not a whole number"),
        (["--clients", "5", "--senders", "6"], "--senders 6: must be at most the number of clients, 5"),
        (["--clients", "5", "--rooms", "6"], "--rooms 6: must be at most"),
        (["--clients", "5", "--processes", "6"], "--processes 6: must be at most"),
        (["--size", "23"], "'23' is not a whole number from 24 to"),
        (["--rate", "-1"], "'-1' is not a number from 0 to"),
        (["--rate", "nan"], "'nan' is not a number"),
        (["--duration", "0"], "--duration: '0' is not a number from 0.001 to"),
        (["--duration", "inf"], "'inf' is not a number"),
        (["--batch", "0"], "--batch: '0' is not a whole number"),
        (["host:99999"], "99999"),
        (["--token", "se cret"], "token"),
        (["--token-file", "/no/such/file"], "/no/such/file"),
        (["--tls-ca", "/no/such/file"], "/no/such/file"),
        (["--tls-ca", "/dev/null"], "certificate"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With exit code 2; a token itself is not told."""
    with pytest.raises(SystemExit) as refused:
        parse(arguments, {})
    assert refused.value.code == 2
    told_last = capsys.readouterr().err.splitlines()[-1]
    assert told in told_last
    assert "cret" not in told_last


def test_help_and_version_are_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On stdout, with exit code 0; help fits a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    for word in ("--help", "--version"):
        with pytest.raises(SystemExit) as done:
            parse([word], {})
        assert not done.value.code
    told = capsys.readouterr().out.splitlines()
    assert "examples:" in told
    assert told[-1] == f"bcast_grpc.bench {__version__}"
    assert max(map(len, told)) <= 80


def test_bad_usage_ends_with_2() -> None:
    """Without a traceback."""
    command = [sys.executable, "-m", "bcast_grpc.bench", "--nonsense"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 2
    assert "Traceback" not in told.stderr
