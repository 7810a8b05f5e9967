"""What the program was asked to do: command line and environment become ``Options``; and how it says that it failed.

The only place of the terminal client that reads either of them.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bcast_grpc import __version__
from bcast_grpc.client.dial import DEFAULT_TARGET, check_target
from bcast_grpc.errors import BcastError, ErrorCode
from bcast_grpc.terminal.safe_text import shown

PROGRAM = "bcast-client"

EXIT_DONE = 0
EXIT_NOT_ALL = 1
EXIT_USAGE = 2
EXIT_LOST = 69
EXIT_NOT_LET_IN = 77
EXIT_HUNG_UP = 129
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141
EXIT_TERMINATED = 143

_EXITS = {
    ErrorCode.NAME_INVALID: EXIT_USAGE,
    ErrorCode.METADATA_INVALID: EXIT_USAGE,
    ErrorCode.UNAUTHENTICATED: EXIT_NOT_LET_IN,
    ErrorCode.PERMISSION_DENIED: EXIT_NOT_LET_IN,
    ErrorCode.TOKEN_EXPIRED: EXIT_NOT_LET_IN,
}

_FILTER_DOWNTIME_S = 60.0
"""A filter whose input ends is to end too, one way or the other."""

_TOKEN = re.compile(r"[!-~]*")

_DESCRIPTION = """\
Talk in a room of a bcast_grpc server: what you send, everybody else in the
room receives. On a terminal it is interactive; /help there tells what can be
typed. With stdin or stdout redirected it is a filter: each line in is a message
(empty ones are skipped), each message is a line out."""

_EPILOG = r"""
a filter's output:
  A message is a line, AUTHOR: TEXT. The first colon followed by a space ends
  the author; one without a name is its session id, as «4f1c22». Control
  characters and what is not seen are written as \n \t \x1b \u2028 \U000e0001,
  a backslash as \\. With --json each event is a line of the contract's JSON,
  exact. Who came and went, and what went wrong, goes to stderr.

a lost connection:
  It tries again, later each time, sends what was not acknowledged and prints
  what it missed; where the server no longer has that, stderr says so.

exit codes:
    0  done
    1  done, but some lines were not sent: stderr says which
    2  usage, or a name or room that does not fit
   69  no server there at first, or lost for good
   77  not let in
  129  the terminal was closed
  130  Ctrl-C
  141  nobody reads the output any more

examples:
  bcast-client --name ana                           in the lobby of this machine
  bcast-client chat.example --name ana --room dev   elsewhere
  echo "512 is green" | bcast-client --name ci      say one thing
  tail -f app.log | bcast-client --name app         say everything
  bcast-client --name log --follow </dev/null >log  only listen
  bcast-client --name bot --follow --json </dev/null | jq -r .message
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the program was asked to do.

    Attributes:
        root_certificates: PEM; empty for a connection without TLS.
        follow: a filter goes on receiving when its input has ended.
        max_downtime_s: how long it tries to connect again; for ever if ``None``.
        interactive: both ends are a terminal that can be drawn on.
    """

    target: str
    name: str
    room: str
    token: str
    root_certificates: bytes
    json: bool
    follow: bool
    history: int
    max_downtime_s: float | None
    colour: bool
    interactive: bool


def parse(arguments: Sequence[str], environment: Mapping[str, str], *, stdin_tty: bool, stdout_tty: bool) -> Options:
    """Make sense of the command line.

    Raises:
        SystemExit: with code 2 where there is none, 0 after ``--help`` and ``--version``.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    certificates = read_certificates(parser, given.tls_ca) if given.tls_ca else b""
    drawable = environment.get("TERM", "dumb") != "dumb"
    interactive = stdin_tty and stdout_tty and drawable and not given.json
    stays = interactive or given.follow
    auto = stdout_tty and drawable and not environment.get("NO_COLOR")
    return Options(
        target=read_target(parser, given.target or environment.get("BCAST_TARGET") or DEFAULT_TARGET),
        name=_text(parser, "--name", given.name),
        room=_text(parser, "--room", given.room),
        token=read_token(parser, given.token, environment.get("BCAST_TOKEN", "")),
        root_certificates=certificates,
        json=given.json,
        follow=given.follow,
        history=given.history,
        max_downtime_s=_FILTER_DOWNTIME_S if given.max_downtime is None and not stays else given.max_downtime,
        colour=given.color == "always" or (given.color == "auto" and auto),
        interactive=interactive,
    )


def exit_code(error: BcastError) -> int:
    """The exit code that tells a script what became of it."""
    return _EXITS.get(error.code, EXIT_LOST)


def complain(text: str) -> None:
    """Say on stderr, in one line, what went wrong."""
    print(f"{PROGRAM}: {shown(text)}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "target",
        metavar="TARGET",
        nargs="?",
        help=f"HOST:PORT of the server, with or without grpc:// (default: BCAST_TARGET, or {DEFAULT_TARGET})",
    )
    parser.add_argument("--name", required=True, help="who you are; '' for nobody in particular")
    parser.add_argument("--room", default="lobby", help="where (default: %(default)s)")
    parser.add_argument(
        "--history", metavar="N", type=_number, default=0, help="show the last N messages first (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="a filter whose lines out are JSON, one event each")
    parser.add_argument(
        "--follow", action="store_true", help="a filter that goes on listening when its input has ended"
    )
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="auto: on a terminal, unless NO_COLOR is set (default: %(default)s)",
    )
    parser.add_argument(
        "--max-downtime",
        metavar="S",
        type=_seconds,
        help="give up after S seconds without a connection (default: never; 60 for a filter without --follow)",
    )
    parser.add_argument("--token", help="better in BCAST_TOKEN: others on this machine see your command line")
    parser.add_argument("--tls-ca", metavar="FILE", help="use TLS; certificates to trust, as PEM")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    return parser


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{shown(text)!r} does not fit; it takes a number of messages")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        raise argparse.ArgumentTypeError(f"{shown(text)!r} does not fit; it takes seconds")
    return float(text)


def read_target(parser: argparse.ArgumentParser, target: str) -> str:
    """Return the target, or end the program with what is wrong with it."""
    try:
        return check_target(target.removesuffix("/"))
    except ValueError as error:
        parser.error(shown(str(error)))


def _text(parser: argparse.ArgumentParser, flag: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # a byte of the command line that is no UTF-8
        parser.error(f"{flag}: not UTF-8")
    return text


def read_token(parser: argparse.ArgumentParser, given: str | None, inherited: str) -> str:
    """Return the token that was given, or else the environment's, or end the program with what is wrong with it."""
    token = (inherited if given is None else given).strip()
    if not _TOKEN.fullmatch(token):
        parser.error("the token takes printable ASCII characters without spaces")
    return token


def read_certificates(parser: argparse.ArgumentParser, path: str) -> bytes:
    """Return the certificates to trust, or end the program with what is wrong with the file."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        parser.error(f"--tls-ca {shown(path)}: {error.strerror}")
    if b"-----BEGIN CERTIFICATE-----" not in content:
        parser.error(f"--tls-ca {shown(path)}: no PEM certificate in it")
    return content
