"""The command line of ``python -m bcast_grpc.token``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bcast_grpc import __version__
from bcast_grpc.auth.patterns import RIGHTS

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d{1,9})([smhd])")

_DESCRIPTION = """\
Make tokens for a bcast_grpc server, and explain them.

    python -m bcast_grpc.token --new-secret secret
    python -m bcast_grpc.server --token-keys secret
    python -m bcast_grpc.token --key secret --sub ana --room 'team-7/*' --can join,send"""

_EPILOG = """\
--can applies to the rooms before it, so both may be given several times:
  --room lobby --can join,send --room 'news/*' --can join
Without --room the token says nothing about rooms: the server's file of rights decides."""


class _Can(argparse.Action):
    """Grants rights in the rooms that were named since the last ``--can``."""

    def __call__(self, parser: argparse.ArgumentParser, given: Any, value: Any, _: str | None = None) -> None:
        words = [word.strip() for word in value.split(",") if word.strip()]
        for word in words:
            if word not in RIGHTS:
                parser.error(f"--can: {word!r} is not a right; use {', '.join(RIGHTS)}")
        if not given.room:
            parser.error("--can: name the room before it, as in --room lobby --can join,send")
        given.granted = {**(given.granted or {}), **dict.fromkeys(given.room, words)}
        given.room = None


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line.

    Raises:
        SystemExit: with code 2 for wrong usage, 0 after ``--help`` and ``--version``.
    """
    parser = argparse.ArgumentParser(
        prog="bcast-token",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--key", metavar="FILE", type=Path, help="sign a token with this secret, or private key in PEM")
    what.add_argument("--show", metavar="TOKEN", help="explain a token, without verifying it; - reads it from stdin")
    what.add_argument("--new-secret", metavar="FILE", type=Path, help="make a new file with a secret")
    parser.add_argument("--sub", help="who the token is for; required with --key")
    parser.add_argument("--name", help="the only name that the client may have; by default it chooses")
    parser.add_argument("--room", metavar="PATTERN", action="append", help="a room, or a prefix ending in *")
    parser.add_argument("--can", metavar="RIGHTS", action=_Can, help=f"any of {', '.join(RIGHTS)}, separated by commas")
    parser.add_argument(
        "--expires", metavar="TIME", default="1h", type=_seconds, help="such as 90s, 5m, 1h, 30d (default: %(default)s)"
    )
    parser.add_argument("--audience", default="", help="the aud that the server's token-audience requires")
    parser.add_argument("--issuer", default="", help="the iss that the server's token-issuer requires")
    parser.add_argument("--kid", default="", help="the id of the key, if the server has several")
    parser.add_argument("--version", action="version", version=f"bcast_grpc {__version__}")
    parser.set_defaults(granted=None)
    given = parser.parse_args(argv)
    if given.key and not given.sub:
        parser.error("--sub: is required with --key; it says who the token is for")
    if given.room:
        parser.error(f"--room {given.room[-1]}: must be followed by what is granted there, as in --can join,send")
    return given


def _seconds(text: str) -> int:
    found = _DURATION.fullmatch(text)
    if not found or not int(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number and a unit, such as 90s, 5m, 1h or 30d")
    return int(found[1]) * _UNITS_S[found[2]]
