"""What is said about settings that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from bcast_grpc.server.arguments import load

from .sources import (
    Sources,
    faults_of,
)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--port", "99999"], "--port 99999: must be a whole number from 0 to 65535 (0 picks a free port)"),
        (["--port"], "--port: needs a value: a whole number from 0 to 65535 (0 picks a free port)"),
        (["--log-level=loud"], "--log-level loud: must be debug, info, warning or error"),
        (["--slow-policy=forget"], "--slow-policy forget: must be disconnect, drop or catch-up"),
        (
            ["--store", "redis:a"],
            "--store redis:a: must be memory:, sqlite:PATH, nats://HOST:PORT[,HOST:PORT], or nats:embedded[:FOLDER]",
        ),
        (
            ["--store", "nats://"],
            "--store nats://: must be memory:, sqlite:PATH, nats://HOST:PORT[,HOST:PORT], or nats:embedded[:FOLDER]",
        ),
        (
            ["--store", "nats://a:0"],
            "--store nats://a:0: must be memory:, sqlite:PATH, nats://HOST:PORT[,HOST:PORT], or nats:embedded[:FOLDER]",
        ),
        (
            ["--store", "nats://a,b/c"],
            (
                "--store nats://a,b/c: must be memory:, sqlite:PATH, nats://HOST:PORT[,HOST:PORT],"
                " or nats:embedded[:FOLDER]"
            ),
        ),
        (
            ["--store", "nats://ana@a"],
            "--store nats://ana@a: must be nats://HOST:PORT without a user: use store-user and store-password-file",
        ),
        (["--cluster", "a.b"], "--cluster a.b: must be 1 to 32 letters, digits, - or _ (ASCII)"),
        (
            ["--store-creds", "a.creds"],
            "--store-creds a.creds: must be off unless store is nats://HOST:PORT or tls://HOST:PORT",
        ),
        (
            ["--store", "nats://a", "--store-nkey-file", "a", "--store-creds", "b"],
            "--store-creds b: must be off: store-user, store-nkey-file and store-creds exclude each other",
        ),
        (
            ["--store", "nats://a", "--store-password-file", "a"],
            "--store-password-file a: must be off if store-user is off",
        ),
        (
            ["--store", "sqlite:"],
            "--store sqlite:: must be memory:, sqlite:PATH, nats://HOST:PORT[,HOST:PORT], or nats:embedded[:FOLDER]",
        ),
        (["--keepalive-s=off"], "--keepalive-s off: must be a number of seconds above 0, at most 2147483"),
        (["--host", "a b"], "--host 'a b': must be an IP address (no brackets) or a host name"),
        (["--host=\x1b[2J"], r"--host '\x1b[2J': must be an IP address (no brackets) or a host name"),
        (["--prot", "1"], "--prot: no such setting; did you mean --port?"),
        (["--prot=1"], "--prot: no such setting; did you mean --port?"),
        (["--por=1"], "--por: no such setting; did you mean --port?"),
        (["--log_level=info"], "--log_level: no such setting; did you mean --log-level?"),
        (["--printconfig"], "--printconfig: no such setting; did you mean --print-config?"),
        (["--metrics-port=80"], "--metrics-port: no such setting; did you mean --tcp-port?"),
        (["--http-port=-1"], "--http-port -1: must be a whole number from 0 to 65535 (0 picks a free port), or off"),
        (["-x"], "-x: no such setting"),
        (["50051"], "50051: is not a flag; settings are given as flags, such as --port 50051"),
        (["--config"], "--config: expected one argument"),
        (["--print-config=1"], "--print-config: ignored explicit argument '1'"),
        (["--config="], "--config '': cannot read this TOML file: no such file"),
        (["--config=/nowhere/x"], "--config /nowhere/x: cannot read this TOML file: no such file"),
        (["--config=/"], "--config /: cannot read this TOML file: no such file"),
    ],
)
def test_flag_faults(argv: list[str], said: str) -> None:
    """A fault on the command line names the flag, the value, and what the flag takes."""
    fault, *rest = faults_of(*argv)
    assert not rest
    assert fault == said


@pytest.mark.parametrize(
    ("store", "right"),
    [
        (":memory:", "memory: to keep messages in memory, or sqlite:./:memory: for a file of that name"),
        ("memory:", "memory: to keep messages in memory, or sqlite:./memory: for a file of that name"),
        (
            "file:x?mode=memory",
            "a path, not a URI: sqlite:chat.db, or sqlite:./file:x?mode=memory for a file of that name",
        ),
        ("//chat.db", "a path, not a URL: sqlite:chat.db in this directory, or sqlite:/var/lib/chat.db"),
        ("chat.db?mode=ro", "a path without parameters: sqlite:chat.db"),
        ("~/x", "a full path, since ~ is not expanded: sqlite:/home/…, or sqlite:./~/x for a file of that name"),
        (" x", "a path without blanks around it: sqlite:x"),
        ("a\0b", "a path without control characters"),
        ("data/", "the path of a file, not of a directory: sqlite:data/chat.db"),
        (".", "the path of a file, not of a directory: sqlite:./chat.db"),
    ],
)
def test_stores_that_mean_something_else(store: str, right: str) -> None:
    """A path that SQLite or a shell would read in its own way is refused, with what would be right."""
    assert faults_of(f"--store=sqlite:{store}")[0].endswith(f": must be {right}")


@pytest.mark.parametrize(
    "path", ["chat.db", "/x/chat.db", "./:memory:", "./~/x", "./file:x?mode=ro", "a b", "ñ", "a:b"]
)
def test_stores_that_are_files(path: str) -> None:
    """Any other path is taken as it is."""
    assert load([f"--store=sqlite:{path}"], {}).settings.store == f"sqlite:{path}"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"BCAST_PORT": "x"}, "BCAST_PORT=x: must be a whole number from 0 to 65535 (0 picks a free port)"),
        ({"BCAST_PORT": ""}, "BCAST_PORT='': must be a whole number from 0 to 65535 (0 picks a free port)"),
        ({"BCAST_PROT": "1"}, "BCAST_PROT: no such setting; did you mean BCAST_PORT?"),
        ({"BCAST_port": "1"}, "BCAST_port: no such setting; did you mean BCAST_PORT?"),
        ({"BCAST_CONFG": "x"}, "BCAST_CONFG: no such setting; did you mean BCAST_CONFIG?"),
        ({"BCAST_PRINT_CONFIG": "1"}, "BCAST_PRINT_CONFIG: no such setting; did you mean BCAST_CONFIG?"),
        ({"BCAST_CONFIG": ""}, "BCAST_CONFIG='': cannot read this TOML file: no such file"),
    ],
)
def test_environment_faults(environ: dict[str, str], said: str) -> None:
    """A fault in the environment names the variable."""
    fault, *rest = faults_of(**environ)
    assert not rest
    assert fault == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port = 99999", "port = 99999 in {path}: must be a whole number from 0 to 65535 (0 picks a free port)"),
        ('host = "a b"', 'host = "a b" in {path}: must be an IP address (no brackets) or a host name'),
        ("prot = 1", "prot in {path}: no such setting; did you mean port?"),
        ("Port = 1", "Port in {path}: no such setting; did you mean port?"),
        ("drain-s = 1", "drain-s in {path}: no such setting; did you mean drain_s?"),
        ("[server]\nport = 1", "server in {path}: no such setting"),
        ("port.x = 1", "port = {{'x': 1}} in {path}: must be a whole number from 0 to 65535 (0 picks a free port)"),
        ("a b", "--config {path}: is not TOML: "),
        ('port = "\udcff"', "--config {path}: is not TOML: "),
    ],
)
def test_file_faults(text: str, said: str, sources: Sources) -> None:
    """A fault in the file names the key and the file."""
    sources.path.write_bytes(text.encode(errors="surrogateescape"))
    fault, *rest = faults_of(*sources.argv)
    assert not rest
    expected = said.format(path=sources.path)
    assert fault == expected or (expected.endswith("TOML: ") and fault.startswith(expected))


def test_a_file_that_cannot_be_read_is_a_fault(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's word for why is passed on."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert faults_of(*sources.argv) == [f"--config {sources.path}: cannot read this TOML file: Permission denied"]


def test_all_faults_are_reported_at_once(sources: Sources) -> None:
    """One start is enough to learn everything that is wrong, wherever it is."""
    sources.put("file", {"progress_s": 0, "nonsense": 1})
    faults = faults_of(*sources.argv, "--prot", "1", "stray", "--port=-1", BCAST_MAX_CLIENTS="no", BCAST_X="1")
    assert [fault.split(":")[0] for fault in faults] == [
        "--prot",
        "stray",
        "BCAST_X",
        f"nonsense in {sources.path}",
        "--port -1",
        "BCAST_MAX_CLIENTS=no",
        f"progress_s = 0 in {sources.path}",
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("nats://localhost", "nats://localhost:4222"),
        ("tls://a.example:4223,b.example", "tls://a.example:4223,b.example:4222"),
        ("nats://[::1]:1, 10.0.0.1", "nats://[::1]:1,10.0.0.1:4222"),
    ],
)
def test_servers_of_nats(written: str, meant: str) -> None:
    """One or several, on NATS's own port unless another is named."""
    assert load([f"--store={written}"], {}).settings.store == meant
