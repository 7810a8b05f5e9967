"""The arguments of every program that connects to a server: its address, the token, the certificates."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bcast_grpc.client.address import DEFAULT_TARGET, read_targets, wants_tls
from bcast_grpc.client.tls import Tls
from bcast_grpc.client.token import TokenFile, check_token
from bcast_grpc.console.safe_text import shown
from bcast_grpc.errors import CallError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect, and with which token and TLS; ``tls`` is None for a connection without TLS.

    Attributes:
        target: one address, or several with commas between them.
    """

    target: str
    token: str | TokenFile = field(repr=False)
    tls: Tls | None


def add_endpoint(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that ``read_endpoint`` reads."""
    parser.add_argument(
        "target",
        metavar="TARGET",
        nargs="?",
        help="HOST:PORT of the server; grpcs://HOST:PORT for TLS; HOST:PORT,HOST:PORT for servers that share their"
        f" rooms (default: BCAST_TARGET, or {DEFAULT_TARGET})",
    )
    token = parser.add_mutually_exclusive_group()
    token.add_argument("--token", help="the token; others on this machine can see it, so prefer a file or BCAST_TOKEN")
    token.add_argument(
        "--token-file",
        metavar="FILE",
        help="a file with the token (default: BCAST_TOKEN_FILE); read again for each connection, and before it expires",
    )
    parser.add_argument(
        "--tls-ca", metavar="FILE", help="use TLS, and trust the authorities in this PEM file, not the system's"
    )
    parser.add_argument("--tls-cert", metavar="FILE", help="PEM file with our certificate, if the server requires one")
    parser.add_argument("--tls-key", metavar="FILE", help="PEM file with the key of --tls-cert")


def read_endpoint(
    parser: argparse.ArgumentParser, given: argparse.Namespace, environment: Mapping[str, str]
) -> Endpoint:
    """Read where to connect; an argument beats the environment.

    Raises:
        SystemExit: an argument is wrong; stderr says which.
    """
    target = environment.get("BCAST_TARGET") or DEFAULT_TARGET if given.target is None else given.target
    try:
        return Endpoint(
            ",".join(map(str, read_targets(re.sub("(?<![:/])/ *(,|$)", r"\1", target)))),
            _read_token(given, environment),
            _read_tls(target, given),
        )
    except ValueError as error:
        parser.error(shown(str(error)))


def whole_number(least: int, most: int = 1_000_000) -> Callable[[str], int]:
    """Make the reader of a whole number for ``argparse``."""

    def read(text: str) -> int:
        if re.fullmatch(r"[0-9]{1,9}", text) and least <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(f"{shown(text)!r} is not a whole number from {least} to {most}")

    return read


def number(least: float, most: float = 1e9) -> Callable[[str], float]:
    """Make the reader of a number for ``argparse``."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if least <= value <= most:
            return value
        raise argparse.ArgumentTypeError(f"{shown(text)!r} is not a number from {least:g} to {most:.0f}")

    return read


def _read_token(given: argparse.Namespace, environment: Mapping[str, str]) -> str | TokenFile:
    token, path = given.token, given.token_file
    if token is None and path is None:
        token, path = environment.get("BCAST_TOKEN"), environment.get("BCAST_TOKEN_FILE")
    if token or not path:
        return check_token((token or "").strip())
    file = TokenFile(path)
    try:
        file()
    except CallError as error:
        raise ValueError(error.reason) from None
    return file


def _read_tls(target: str, given: argparse.Namespace) -> Tls | None:
    tls = Tls(given.tls_ca, given.tls_cert, given.tls_key)
    if tls == Tls() and not wants_tls(target):
        return None
    try:
        tls.check()
    except ValueError as error:
        raise ValueError(f"--{error}") from None
    return tls
