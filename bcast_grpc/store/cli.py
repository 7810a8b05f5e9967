"""The command line: ``copy``, ``info``, ``check``, ``new-epoch``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from bcast_grpc import __version__
from bcast_grpc.broker.base import CannotOpen
from bcast_grpc.store.check import find_damage
from bcast_grpc.store.copy import CannotWrite, copy
from bcast_grpc.store.epochs import begin_epochs
from bcast_grpc.store.info import as_json, as_text, look_into, shown

DONE, FAULT, NOT_STARTED = 0, 1, 2
"""Exit codes, as the server's: a fault is damage, or a copy that could not be written."""


def run(argv: Sequence[str]) -> int:
    """Do what the arguments ask for; return the exit code."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    options = _parser().parse_args(argv)
    try:
        return int(options.run(options))
    except CannotOpen as error:
        print(error, file=sys.stderr)
        return NOT_STARTED
    except CannotWrite as error:
        print(error, file=sys.stderr)
        return FAULT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bcast-store",
        description="Work on the file of a store (sqlite:PATH).",
        epilog="exit codes: 0 success; 1 damage was found, or the copy could not be written; 2 nothing was done",
    )
    parser.add_argument("--version", action="version", version=f"bcast_grpc {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    command = commands.add_parser("copy", help="copy a store, also while a server uses it")
    command.add_argument("source", metavar="SRC", type=_path, help="the store")
    command.add_argument("target", metavar="DST", type=_path, help="the copy; it appears when it is complete")
    command.add_argument("--overwrite", action="store_true", help="replace DST if it exists")
    command.set_defaults(run=_copy)

    command = commands.add_parser("info", help="show what is in a store, also while a server uses it")
    command.add_argument("file", metavar="FILE", type=_path, help="the store")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=_info)

    command = commands.add_parser("check", help="look for damage, also while a server uses it")
    command.add_argument("file", metavar="FILE", type=_path, help="the store")
    command.set_defaults(run=_check)

    command = commands.add_parser("new-epoch", help="begin new epochs, after a snapshot of a whole disk was restored")
    command.add_argument("file", metavar="FILE", type=_path, help="the store; no server may be using it")
    command.add_argument("rooms", metavar="ROOM", nargs="*", help="only in these rooms")
    command.set_defaults(run=_new_epoch)
    return parser


def _path(text: str) -> Path:
    path = text.removeprefix("sqlite:")  # as the server's setting has it
    if not path:
        raise argparse.ArgumentTypeError("must be a path, such as chat.db")
    return Path(path)


def _copy(options: argparse.Namespace) -> int:
    size = copy(options.source, options.target, overwrite=options.overwrite)
    print(f"{options.target}: {size} bytes, complete")
    return DONE


def _info(options: argparse.Namespace) -> int:
    found = look_into(options.file)
    print(as_json(found) if options.json else as_text(found))
    return DONE


def _check(options: argparse.Namespace) -> int:
    damage = find_damage(options.file)
    for line in damage:
        print(line)
    if not damage:
        print(f"{options.file}: no damage")
    return FAULT if damage else DONE


def _new_epoch(options: argparse.Namespace) -> int:
    for room, epoch in begin_epochs(options.file, options.rooms).items():
        print(f"{shown(room)}: {epoch}")
    return DONE
