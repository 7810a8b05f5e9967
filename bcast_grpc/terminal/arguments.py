"""The command line and the environment of the terminal client, read into ``Options``.

Nothing else of the program reads either of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bcast_grpc import __version__
from bcast_grpc.client.tls import Tls
from bcast_grpc.client.token import TokenFile
from bcast_grpc.console.arguments import add_endpoint, number, read_endpoint, whole_number

PROGRAM = "bcast-client"

_PIPELINE_DOWNTIME_S = 60.0
"""A pipeline whose input has ended must end too, even without a server."""

_DESCRIPTION = """\
Join a room of a bcast_grpc server. What you send, everyone else in the room
receives. On a terminal the program is interactive: type /help to see how.
If stdin or stdout is redirected, it is part of a pipeline: it sends each line
of its input (except empty ones), and prints each message it receives."""

_EPILOG = r"""
output in a pipeline:
  Each message is one line, AUTHOR: TEXT. The author ends at the first colon
  that a space follows. An author without a name is shown by the session id, as
  «4f1c22». Control characters and invisible ones are written as escapes:
  \n \t \x1b \u2028 \U000e0001, and a backslash as \\. With --json each event is
  one line of JSON, as docs/protocol.md describes it. Notices (who joined, who
  left) and errors go to stderr.

when the connection is lost:
  The program reconnects, with a longer pause each time. Then it sends what was
  not acknowledged and prints what it missed. If the server no longer has that,
  a line on stderr says so.
  With several targets (HOST:PORT,HOST:PORT) it goes on at another server that
  shares the rooms, and says which.

exit codes:
    0  success
    1  some lines were not sent (stderr says which), or input or output failed
    2  wrong usage, or the server refused the name or the room
   69  no server was reached, or the connection was lost for good
   77  the server refused the token, or requires one; or the token has expired
  129  the terminal was closed
  130  interrupted by Ctrl-C
  141  the reader of the output has gone
  143  terminated by SIGTERM

examples:
  bcast-client --name ana                           the lobby on this machine
  bcast-client chat.example --name ana --room dev   a room on another machine
  bcast-client a.example,b.example --name ana       one of two that share rooms
  echo "512 is green" | bcast-client --name ci      send one message
  tail -f app.log | bcast-client --name app         send every line of a log
  bcast-client --name log --follow </dev/null >log  only receive
  bcast-client --name bot --follow --json </dev/null | jq -r .message
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the program is asked to do.

    Attributes:
        tls: how to authenticate the server; None for a connection without TLS.
        follow: in a pipeline, go on receiving when the input has ended.
        max_downtime_s: how long to reconnect without success; ``None`` for no limit.
        interactive: stdin and stdout are a terminal that can be drawn on.
    """

    target: str
    name: str
    room: str
    token: str | TokenFile = field(repr=False)
    tls: Tls | None
    json: bool
    follow: bool
    history: int
    max_downtime_s: float | None
    colour: bool
    interactive: bool


def parse(arguments: Sequence[str], environment: Mapping[str, str], *, stdin_tty: bool, stdout_tty: bool) -> Options:
    """Read the command line and the environment.

    Raises:
        SystemExit: with code 2 if an argument is wrong, 0 after ``--help`` and ``--version``.
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
        tls=endpoint.tls,
        json=given.json,
        follow=given.follow,
        history=given.history,
        max_downtime_s=_PIPELINE_DOWNTIME_S if given.max_downtime is None and not stays else given.max_downtime,
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
    parser.add_argument("--name", required=True, help="the name that others see; '' for none")
    parser.add_argument("--room", default="lobby", help="the room to join (default: %(default)s)")
    parser.add_argument(
        "--history",
        metavar="N",
        type=whole_number(0, 999_999_999),
        default=0,
        help="show the last N messages of the room first (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print each event as one line of JSON")
    parser.add_argument("--follow", action="store_true", help="in a pipeline, go on receiving when the input has ended")
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="auto: if stdout is a terminal and NO_COLOR is not set (default: %(default)s)",
    )
    parser.add_argument(
        "--max-downtime",
        metavar="S",
        type=number(0),
        help="give up after S seconds without a connection (default: never; 60 in a pipeline without --follow)",
    )
    add_endpoint(parser)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    return parser


def _text(parser: argparse.ArgumentParser, flag: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # a byte of the command line that is not UTF-8
        parser.error(f"{flag}: must be UTF-8")
    return text
