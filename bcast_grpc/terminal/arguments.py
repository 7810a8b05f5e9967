"""What the program was asked to do: command line and environment become ``Options``; and how it says that it failed.

The only place of the terminal client that reads either of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bcast_grpc import __version__
from bcast_grpc.console.arguments import add_endpoint, number, read_endpoint, whole_number

PROGRAM = "bcast-client"

_FILTER_DOWNTIME_S = 60.0
"""A filter whose input ends is to end too, one way or the other."""

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
    endpoint = read_endpoint(parser, given, environment)
    drawable = environment.get("TERM", "dumb") != "dumb"
    interactive = stdin_tty and stdout_tty and drawable and not given.json
    stays = interactive or given.follow
    auto = stdout_tty and drawable and not environment.get("NO_COLOR")
    return Options(
        target=endpoint.target,
        name=_text(parser, "--name", given.name),
        room=_text(parser, "--room", given.room),
        token=endpoint.token,
        root_certificates=endpoint.root_certificates,
        json=given.json,
        follow=given.follow,
        history=given.history,
        max_downtime_s=_FILTER_DOWNTIME_S if given.max_downtime is None and not stays else given.max_downtime,
        colour=given.color == "always" or (given.color == "auto" and auto),
        interactive=interactive,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--name", required=True, help="who you are; '' for nobody in particular")
    parser.add_argument("--room", default="lobby", help="where (default: %(default)s)")
    parser.add_argument(
        "--history",
        metavar="N",
        type=whole_number(0, 999_999_999),
        default=0,
        help="show the last N messages first (default: %(default)s)",
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
        type=number(0),
        help="give up after S seconds without a connection (default: never; 60 for a filter without --follow)",
    )
    add_endpoint(parser)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    return parser


def _text(parser: argparse.ArgumentParser, flag: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # a byte of the command line that is no UTF-8
        parser.error(f"{flag}: not UTF-8")
    return text
