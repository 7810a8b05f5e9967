"""The command line: ``copy``, ``info``, ``check``, ``new-epoch``; for the file of a store, and for a log in NATS."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bcast_grpc import __version__
from bcast_grpc.broker.base import CannotOpen
from bcast_grpc.settings import EMBEDDED, NATS_SCHEMES, Settings, SettingsError
from bcast_grpc.store import commands
from bcast_grpc.store.check import find_damage
from bcast_grpc.store.copy import CannotWrite, copy
from bcast_grpc.store.epochs import begin_epochs
from bcast_grpc.store.info import as_json, as_text, look_into
from bcast_grpc.store.text import shown

DONE, FAULT, NOT_STARTED = 0, 1, 2
"""Exit codes, as the server's: a fault is damage, or a copy that could not be written."""

_SERVERS_OWN = ("store_replicas", "store_create")
LOGIN = ("cluster", *(name for name in Settings.model_fields if name.startswith("store_") and name not in _SERVERS_OWN))
"""The settings of the server that say which log in NATS is meant, and how to log in there."""


def run(argv: Sequence[str]) -> int:
    """Do what the arguments ask for; return the exit code."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    options = _parser().parse_args(argv)
    try:
        return int(options.run(options))
    except (CannotOpen, SettingsError) as error:
        print(error, file=sys.stderr)
        return NOT_STARTED
    except CannotWrite as error:
        print(error, file=sys.stderr)
        return FAULT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bcast-store",
        description="Work on a store: the file of a server (sqlite:PATH), or the log in NATS that servers share"
        " (nats://HOST:PORT).",
        epilog="exit codes: 0 success; 1 damage was found, or the copy could not be written; 2 nothing was done",
    )
    parser.add_argument("--version", action="version", version=f"bcast_grpc {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    command = commands.add_parser("copy", help="copy a store, also while servers use it")
    command.add_argument("source", metavar="SRC", type=_store, help="the store, or the copy of a log")
    command.add_argument("target", metavar="DST", type=_store, help="the copy, or the log to restore from a copy")
    command.add_argument("--overwrite", action="store_true", help="replace DST if it exists")
    _add_login(command)
    command.set_defaults(run=_copy)

    command = commands.add_parser("info", help="show what is in a store, also while servers use it")
    command.add_argument("store", metavar="STORE", type=_store, help="the file, or nats://HOST:PORT")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    _add_login(command)
    command.set_defaults(run=_info)

    command = commands.add_parser("check", help="look for damage, also while servers use it")
    command.add_argument("store", metavar="STORE", type=_store, help="the file, or nats://HOST:PORT")
    _add_login(command)
    command.set_defaults(run=_check)

    command = commands.add_parser("new-epoch", help="begin new epochs, after a backup was restored otherwise")
    command.add_argument("store", metavar="STORE", type=_store, help="the file, or nats://HOST:PORT")
    command.add_argument("rooms", metavar="ROOM", nargs="*", help="only in these rooms")
    _add_login(command)
    command.set_defaults(run=_new_epoch)
    return parser


def _store(text: str) -> Path | str:
    if text.startswith(NATS_SCHEMES):
        return text
    if text == "memory:":
        raise argparse.ArgumentTypeError("memory: is in its server alone")
    if text == EMBEDDED or text.startswith(f"{EMBEDDED}:"):
        raise argparse.ArgumentTypeError(
            "must be nats://127.0.0.1:PORT, with the port in FOLDER/nats.conf, --store-user bcast and"
            " --store-password-file FOLDER/password, while its server runs"
        )
    path = text.removeprefix("sqlite:")  # as the server's setting has it
    if not path:
        raise argparse.ArgumentTypeError("must be a path, such as chat.db, or nats://HOST:PORT")
    return Path(path)


def _add_login(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("for a log in NATS, as for the server; also from BCAST_… variables")
    group.add_argument("--config", metavar="FILE", help="TOML file of the server")
    for name in LOGIN:
        field = Settings.model_fields[name]
        group.add_argument(f"--{name.replace('_', '-')}", metavar="VALUE", help=field.description)


def _settings(options: argparse.Namespace, store: str) -> Settings:
    """Read the server's settings, and those of the command line."""
    from bcast_grpc.server.arguments import load  # a file needs none of it

    given = {name: getattr(options, name) for name in ("config", *LOGIN)}
    flags = [f"{_flag(name)}={value}" for name, value in given.items() if value is not None]
    return load([f"--store={store}", *flags], os.environ).settings


def _refuse_login(options: argparse.Namespace) -> None:
    for name in ("config", *LOGIN):
        if getattr(options, name) is not None:
            raise CannotOpen(f"{_flag(name)} is for a log in NATS (nats://HOST:PORT), not for a file")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _copy(options: argparse.Namespace) -> int:
    match options.source, options.target:
        case str() as source, Path() as target:
            size = commands.save(_settings(options, source), target, overwrite=options.overwrite)
        case Path() as source, str() as target:
            for line in commands.restore(source, _settings(options, target), overwrite=options.overwrite):
                print(line)
            return DONE
        case Path() as source, Path() as target:
            _refuse_login(options)
            size = copy(source, target, overwrite=options.overwrite)
        case _:
            raise CannotOpen("a log is not copied from one NATS to another: copy it into a folder, and from there")
    print(f"{options.target}: {size} bytes, complete")
    return DONE


def _info(options: argparse.Namespace) -> int:
    if isinstance(options.store, str):
        print(commands.info(_settings(options, options.store), json=options.json))
        return DONE
    _refuse_login(options)
    found = look_into(options.store)
    print(as_json(found) if options.json else as_text(found))
    return DONE


def _check(options: argparse.Namespace) -> int:
    if isinstance(options.store, str):
        damage = commands.check(_settings(options, options.store))
    else:
        _refuse_login(options)
        damage = iter(find_damage(options.store))
    found = False
    for line in damage:
        print(line)
        found = True
    if not found:
        print(f"{options.store}: no damage")
    return FAULT if found else DONE


def _new_epoch(options: argparse.Namespace) -> int:
    if isinstance(options.store, str):
        for line in commands.new_epochs(_settings(options, options.store), options.rooms):
            print(line)
        return DONE
    _refuse_login(options)
    for room, epoch in begin_epochs(options.store, options.rooms).items():
        print(f"{shown(room)}: {epoch}")
    return DONE
