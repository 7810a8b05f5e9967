"""``python -m bcast_grpc.token``, as its user runs it."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

import bcast_grpc
from bcast_grpc.auth.keys import read_keys
from bcast_grpc.auth.tokens import Verifier
from bcast_grpc.core.identity import Rights
from tests import forked, tokens


def run(*arguments: str | Path, stdin: str = "") -> tuple[int, str, str]:
    """Run it; return its exit code and what it wrote."""
    return forked.run("bcast_grpc.token", *map(str, arguments), stdin=stdin)


def test_it_starts() -> None:
    """As a program of its own; the other tests fork it."""
    command = [sys.executable, "-m", "bcast_grpc.token", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"bcast_grpc {bcast_grpc.__version__}\n", "")


def test_from_nothing_to_a_token(tmp_path: Path) -> None:
    """A secret that only its owner may read, a token that the server takes, and what is in it."""
    secret = tmp_path / "secret"
    assert run("--new-secret", secret) == (0, "", "")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    before = secret.read_bytes()
    assert run("--new-secret", secret)[0] == 1
    assert secret.read_bytes() == before
    code, token, _ = run(
        *("--key", secret, "--sub", "ana", "--name", "Ana", "--expires", "2h", "--audience", "chat", "--issuer", "me"),
        *(
            "--room",
            "lobby",
            "--room",
            "team-7/*",
            "--can",
            "join,send",
            "--room",
            "news",
            "--can",
            "join",
            "--kid",
            "k",
        ),
    )
    assert code == 0
    claims = Verifier("me", "chat").verify(token.strip(), read_keys(secret))
    assert (claims.subject, claims.name) == ("ana", "Ana")
    assert claims.rooms
    assert claims.rooms.find("team-7/x") == Rights(join=True, send=True)
    assert claims.rooms.find("news") == Rights(join=True)
    for given, stdin in ((token.strip(), ""), ("-", token)):
        code, said, _ = run("--show", given, stdin=stdin)
        assert code == 0
        for words in ("HS256, with the key k", "ana", "from        me", "to          chat", "in team-7/*: join, send"):
            assert words in said
        assert "not verified" in said


@pytest.mark.parametrize(
    ("key", "algorithm"), [(tokens.rsa_key(), "RS256"), (tokens.ec_key(), "ES256"), (tokens.ed_key(), "EdDSA")]
)
def test_private_keys_sign(tmp_path: Path, key: object, algorithm: str) -> None:
    """By the algorithm of their kind."""
    path = tmp_path / "private.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))  # type: ignore[attr-defined]
    public = tmp_path / "public.pem"
    public.write_bytes(tokens.pem_of(key))
    code, token, _ = run("--key", path, "--sub", "ana")
    assert code == 0
    claims = Verifier().verify(token.strip(), read_keys(public))
    assert (claims.subject, claims.rooms) == ("ana", None)
    assert f"signed by   {algorithm}" in run("--show", token.strip())[1]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "one of the arguments --key --show --new-secret is required"),
        (["--key", "none"], 2, "--sub: is required with --key"),
        (["--key", "none", "--sub", "ana"], 1, "none: cannot read this file: No such file or directory"),
        (
            ["--key", "k", "--sub", "a", "--room", "x"],
            2,
            "--room x: must be followed by what is granted there, as in --can join,send",
        ),
        (["--key", "k", "--sub", "a", "--can", "join"], 2, "--can: name the room before it"),
        (
            ["--key", "k", "--sub", "a", "--room", "x", "--can", "fly"],
            2,
            "'fly' is not a right; use join, send, history, who",
        ),
        (
            ["--key", "k", "--sub", "a", "--expires", "soon"],
            2,
            "'soon' must be a number and a unit, such as 90s, 5m, 1h or 30d",
        ),
        (["--show", "nonsense"], 1, "is not a JSON Web Token"),
        (["--new-secret", "none/secret"], 1, "none/secret: cannot write this file"),
    ],
)
def test_what_does_not_fit_is_said(arguments: list[str], code: int, says: str) -> None:
    """In one line, without a traceback."""
    found, stdout, stderr = run(*arguments)
    assert (found, stdout) == (code, "")
    assert says in " ".join(stderr.split())
    assert "Traceback" not in stderr


def test_an_encrypted_key_is_named(tmp_path: Path) -> None:
    """The program has no passphrase for it."""
    path = tmp_path / "private.pem"
    path.write_bytes(tokens.ec_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")))
    code, _, stderr = run("--key", path, "--sub", "ana")
    assert (code, "is encrypted; decrypt it first" in stderr) == (1, True)
