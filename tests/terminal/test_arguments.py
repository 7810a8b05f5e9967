"""A command line is understood, or refused before anything is tried."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme

import bcast_grpc
from bcast_grpc.client.tls import Tls
from bcast_grpc.client.token import TokenFile
from bcast_grpc.terminal.arguments import Options, parse

TERMINAL = {"TERM": "xterm-256color"}
TIMEOUT_S = 30


def options(*arguments: str, environment: Mapping[str, str] = TERMINAL, tty: bool = True) -> Options:
    """What they ask for, on a terminal or not."""
    return parse(["--name", "ana", *arguments], environment, stdin_tty=tty, stdout_tty=tty)


def run(*arguments: str, program: tuple[str, ...] = ("-m", "bcast_grpc.client")) -> subprocess.CompletedProcess[str]:
    """The program itself, with no input."""
    return subprocess.run(
        [sys.executable, *program, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_what_is_not_given_has_a_default() -> None:
    """The server on this machine, the lobby."""
    assert options() == Options(
        target="127.0.0.1:50051",
        name="ana",
        room="lobby",
        token="",
        tls=None,
        json=False,
        follow=False,
        history=0,
        max_downtime_s=None,
        colour=True,
        interactive=True,
    )


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ("chat.example:4000", "chat.example:4000"),
        ("grpc://127.0.0.1:4000", "127.0.0.1:4000"),
        ("grpc://127.0.0.1:4000/", "127.0.0.1:4000"),
        ("chat.example", "chat.example:50051"),
        ("[::1]:4000", "[::1]:4000"),
        ("grpc://a.example:4000/, [::1]:4000/,b.example", "a.example:4000,[::1]:4000,b.example:50051"),
    ],
)
def test_a_target_may_be_given_as_the_server_prints_it(given: str, target: str) -> None:
    """On the command line and in the environment, where the command line counts more; several too."""
    assert options(given).target == target
    assert options(environment={"BCAST_TARGET": given}).target == target
    assert options("other:1", environment={"BCAST_TARGET": given}).target == "other:1"


def test_a_token_may_be_given_where_others_do_not_see_it() -> None:
    """In the environment, where the command line counts more; a line break at its end is not part of it."""
    assert options(environment={"BCAST_TOKEN": "secret\n"}).token == "secret"
    assert options("--token", "other", environment={"BCAST_TOKEN": "secret"}).token == "other"


def test_a_token_may_be_in_a_file(tmp_path: Path) -> None:
    """On the command line it counts more than anything in the environment; a token in that counts more than a file."""
    path = tmp_path / "token"
    path.write_text("secret\n")
    for given in (
        options("--token-file", str(path), environment={"BCAST_TOKEN": "other", "BCAST_TOKEN_FILE": "/no/such/file"}),
        options(environment={"BCAST_TOKEN": "", "BCAST_TOKEN_FILE": str(path)}),
    ):
        assert isinstance(given.token, TokenFile)
        assert given.token() == "secret"
    assert options(environment={"BCAST_TOKEN": "t", "BCAST_TOKEN_FILE": "/no/such/file"}).token == "t"
    assert options("--token", "t", environment={"BCAST_TOKEN_FILE": "/no/such/file"}).token == "t"


def test_no_token_is_where_options_are_printed() -> None:
    """As in a traceback."""
    assert "secret" not in repr(options("--token", "secret"))


@pytest.mark.parametrize(
    ("arguments", "environment", "tty", "colour"),
    [
        ((), TERMINAL, True, True),
        ((), TERMINAL, False, False),
        ((), TERMINAL | {"NO_COLOR": "1"}, True, False),
        ((), TERMINAL | {"NO_COLOR": ""}, True, True),
        ((), {"TERM": "dumb"}, True, False),
        (("--color", "never"), TERMINAL, True, False),
        (("--color", "always"), TERMINAL | {"NO_COLOR": "1"}, False, True),
    ],
)
def test_colour_is_for_terminals_and_those_who_want_it(
    arguments: tuple[str, ...], environment: Mapping[str, str], tty: bool, colour: bool
) -> None:
    """``NO_COLOR`` counts more than a terminal, and the command line more than ``NO_COLOR``."""
    assert options(*arguments, environment=environment, tty=tty).colour is colour


@pytest.mark.parametrize(
    ("arguments", "stdin_tty", "stdout_tty", "term", "interactive"),
    [
        ([], True, True, "xterm", True),
        ([], False, True, "xterm", False),
        ([], True, False, "xterm", False),
        ([], True, True, "dumb", False),
        (["--json"], True, True, "xterm", False),
    ],
)
def test_it_is_interactive_where_both_ends_are_a_terminal(
    arguments: list[str], stdin_tty: bool, stdout_tty: bool, term: str, interactive: bool
) -> None:
    """One that can be drawn on; and JSON is for programs."""
    given = parse(["--name", "x", *arguments], {"TERM": term}, stdin_tty=stdin_tty, stdout_tty=stdout_tty)
    assert given.interactive is interactive


@pytest.mark.parametrize(
    ("arguments", "tty", "max_downtime_s"),
    [([], True, None), ([], False, 60), (["--follow"], False, None), (["--max-downtime", "0"], False, 0)],
)
def test_a_filter_whose_input_ends_gives_up_in_time(
    arguments: list[str], tty: bool, max_downtime_s: float | None
) -> None:
    """Who stays to listen tries for ever."""
    assert options(*arguments, tty=tty).max_downtime_s == max_downtime_s


def test_history_is_a_number_of_messages() -> None:
    """None unless asked for."""
    assert options("--history", "30").history == 30


def test_tls_is_asked_for_by_the_target_or_by_its_files(tmp_path: Path) -> None:
    """The authorities are those of the system, unless a file is given."""
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(path)
    assert options("grpcs://chat.example").tls == Tls()
    assert options("--tls-ca", str(path)).tls == Tls(str(path))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--room", "dev"], "--name"),
        (["--name", "x", "no/target"], "no/target"),
        (["--name", "x", "host:99999"], "99999"),
        (["--name", "x\udcff"], "UTF-8"),
        (["--name", "x", "--room", "x\udcff"], "UTF-8"),
        (["--name", "x", "--token", "se cret"], "token"),
        (["--name", "x", "--token", "ñ"], "token"),
        (["--name", "x", "--token-file", "/no/such/file"], "/no/such/file: cannot be read: No such file"),
        (["--name", "x", "--token-file", "/dev/null"], "/dev/null: must contain one token"),
        (["--name", "x", "--token", "secret", "--token-file", "file"], "not allowed with"),
        (["--name", "x", "--tls-ca", "/no/such/file"], "/no/such/file"),
        (["--name", "x", "--tls-ca", "/dev/null"], "certificate"),
        (["--name", "x", "--tls-cert", "client.pem"], "tls-key: must be given together with tls-cert"),
        (["--name", "x", "--color", "blue"], "blue"),
        (["--name", "x", "--nonsense"], "--nonsense"),
        (["--name", "x", "--history", "-3"], "--history"),
        (["--name", "x", "--history", "few"], "few"),
        (["--name", "x", "--max-downtime", "long"], "long"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With exit code 2, and a word on what it was; a token itself is not told."""
    with pytest.raises(SystemExit) as refused:
        parse(arguments, {}, stdin_tty=False, stdout_tty=False)
    assert refused.value.code == 2
    told_last = capsys.readouterr().err.splitlines()[-1]
    assert told in told_last
    assert "cret" not in told_last


def test_help_and_version_are_told() -> None:
    """On stdout, with exit code 0; help has an example and fits a terminal of 80 columns."""
    told = run("--help")
    assert told.returncode == 0
    assert "examples:" in told.stdout
    assert max(map(len, told.stdout.splitlines())) <= 80
    assert run("--version").stdout == f"bcast-client {bcast_grpc.__version__}\n"


def test_bad_usage_ends_with_2() -> None:
    """Without a traceback."""
    told = run("--nonsense")
    assert told.returncode == 2
    assert "Traceback" not in told.stderr


def test_a_filter_starts_without_prompt_toolkit() -> None:
    """It takes as long to import as the rest together."""
    told = run(
        program=("-c", "import sys, bcast_grpc.terminal.pipeline, bcast_grpc.terminal.run as _; print(*sys.modules)")
    )
    assert "bcast_grpc.terminal.pipeline" in told.stdout.split()
    assert "prompt_toolkit" not in told.stdout.split()
