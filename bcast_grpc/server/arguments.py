"""The server's command line, environment and file, read into ``Settings``.

pydantic-settings reads the three sources. Each is read on its own, so that for every value, and every error, it is
known where it was written.
"""

from __future__ import annotations

from argparse import ArgumentError, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    EnvSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from bcast_grpc import __version__
from bcast_grpc.server.machine.limits import default_max_memory
from bcast_grpc.settings import PREFIX, Accepts, Settings, SettingsError, explain_unknown, say_what_fits, show

_CONFIG = "BCAST_CONFIG"
_CLIENTS_OWN = frozenset({"BCAST_TARGET", "BCAST_TOKEN", "BCAST_TOKEN_FILE"})  # the terminal client reads them


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings in force, and where each value came from.

    Attributes:
        origins: by name: ``default``, ``flag --port``, ``environment BCAST_PORT``, or ``file PATH``.
        print_config: whether ``--print-config`` was asked for.
    """

    settings: Settings
    origins: Mapping[str, str]
    print_config: bool = False


@dataclass(frozen=True, slots=True)
class _Given:
    """A value from outside, where it came from, and how it was written there."""

    value: object
    origin: str
    written: str


class _Declared(Settings, BaseSettings):
    """The settings in the form that the sources of pydantic-settings need. Never instantiated."""

    model_config = SettingsConfigDict(case_sensitive=True, env_prefix=PREFIX)


def load(argv: Sequence[str], environ: Mapping[str, str]) -> Loaded:
    """Read the settings: a flag beats the environment, which beats the file, which beats the default.

    Args:
        argv: the arguments, without the program's name.
        environ: the environment variables; those that do not begin with ``BCAST_`` are ignored.

    Raises:
        SettingsError: some values or names are invalid; the error lists all of them.
        SystemExit: with code 0, after ``--help`` or ``--version`` has been printed to stdout.
    """
    parser, source = _make_parser()
    try:
        asked, unknown = parser.parse_known_args(list(argv))
    except ArgumentError as error:  # argparse stops here, so --config may be unknown, too
        raise SettingsError([_explain_usage(error)]) from None
    faults = _find_unknown_flags(unknown)
    given = _read_environment(environ, faults) | _read_flags(source(parsed_args=asked)())
    file, named = (environ.get(_CONFIG), f"{_CONFIG}=") if asked.config is None else (asked.config, "--config ")
    if file is not None:
        given = _read_file(file, f"{named}{show(file)}", faults) | given
    values = {name: one.value for name, one in given.items()}
    try:
        settings = Settings.model_validate(values, context={name: one.written for name, one in given.items()})
    except SettingsError as error:
        raise SettingsError([*faults, *error.faults]) from None
    if faults:
        raise SettingsError(faults)
    origins = {name: given[name].origin if name in given else "default" for name in Settings.model_fields}
    return Loaded(settings, origins, asked.print_config)


def format_config(loaded: Loaded) -> str:
    """Show what is in force as TOML that ``--config`` reads back, each line with its origin; secrets are hidden."""
    origins = dict(loaded.origins)
    settings = loaded.settings
    if settings.max_memory is None:
        settings = settings.model_copy(update={"max_memory": default_max_memory()})
        origins["max_memory"] += ", half of what the machine or the cgroup has"
    if settings.workers > 1 and settings.store == "memory:":
        origins["store"] += ", which workers share by nats:embedded"
    if "max_clients_per_peer" not in settings.model_fields_set:
        origins["max_clients_per_peer"] += ", which does not apply to addresses of this machine"
    return "".join(f"{name} = {_as_toml(value)}  # {origins[name]}\n" for name, value in settings)


def _make_parser() -> tuple[ArgumentParser, CliSettingsSource[ArgumentParser]]:
    """Make the parser of the command line, with a flag for each setting, and the source that reads its result.

    pydantic-settings could make the parser, too, but then its error texts could not be replaced.
    """
    parser = ArgumentParser(
        prog="bcast-server",
        usage="%(prog)s [--SETTING VALUE ...] [--config FILE]",
        description="Serve a broadcast over gRPC. Each setting, such as --drain-s 10, is also an\n"
        "environment variable (BCAST_DRAIN_S=10) and a key of the TOML file (drain_s = 10)\n"
        "that --config or BCAST_CONFIG names. A flag beats the environment, which beats\n"
        "the file, which beats the default.",
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
        exit_on_error=False,
    )
    source = CliSettingsSource[ArgumentParser](
        _Declared,
        cli_prog_name=parser.prog,
        cli_kebab_case=True,
        cli_parse_none_str="off",
        root_parser=parser,
        add_argument_method=_add_flag,
    )
    parser.add_argument("--config", metavar="FILE", help="TOML file to read settings from")
    parser.add_argument("--print-config", action="store_true", help="print what is in force, and where it came from")
    parser.add_argument("--version", action="version", version=f"bcast_grpc {__version__}")
    return parser, source


def _add_flag(parser: ArgumentParser, *flags: str, **options: Any) -> None:
    """Add the flag that pydantic-settings asks for, with the setting's unit in place of its Python type."""
    field = Settings.model_fields.get(options.get("dest", ""))
    options["help"] = (
        options.get("help", "").replace("(default: ())", "(default: off)").replace("(default: False)", "(default: 0)")
    )
    if field and field.annotation is bool:
        options |= {"nargs": "?", "const": "1"}  # a switch needs no value
    for kind in field.metadata if field else ():
        if isinstance(kind, Accepts):
            options["metavar"] = kind.unit
    parser.add_argument(*flags, **options)


def _read_flags(values: Mapping[str, Any]) -> dict[str, _Given]:
    return {
        name: _Given(value, f"flag {_flag(name)}", f"{_flag(name)} {show(value)}") for name, value in values.items()
    }


def _read_environment(environ: Mapping[str, str], faults: list[str]) -> dict[str, _Given]:
    known = {_variable(name) for name in Settings.model_fields}
    ours = {variable: text for variable, text in environ.items() if variable.startswith(PREFIX)}
    unknown = sorted(ours.keys() - known - _CLIENTS_OWN - {_CONFIG})
    faults.extend(explain_unknown(variable, _variable, ["config"]) for variable in unknown)
    source = EnvSettingsSource(_Declared, case_sensitive=False)
    # The source has read os.environ; give it what was passed in, with names in lower case, as it looks them up.
    source.env_vars = {variable.lower(): ours[variable] for variable in known & ours.keys()}
    return {
        name: _Given(value, f"environment {_variable(name)}", f"{_variable(name)}={show(value)}")
        for name, value in source().items()
    }


def _read_file(name: str, written: str, faults: list[str]) -> dict[str, _Given]:
    path = show(name)
    try:
        file = Path(name).expanduser()
        if not file.is_file():  # the source would ignore that silently
            raise FileNotFoundError("no such file")
        values = TomlConfigSettingsSource(_Declared, toml_file=file)()
    except (OSError, RuntimeError) as error:
        faults.append(f"{written}: cannot read this TOML file: {getattr(error, 'strerror', None) or error}")
        return {}
    except ValueError as error:
        faults.append(f"{written}: is not TOML: {error}")
        return {}
    unknown = [key for key in values if key not in Settings.model_fields]
    faults.extend(explain_unknown(key, str, where=f" in {path}") for key in unknown)
    return {
        key: _Given(value, f"file {path}", f"{key} = {_as_toml(value)} in {path}")
        for key, value in values.items()
        if key not in unknown
    }


def _find_unknown_flags(words: Iterable[str]) -> list[str]:
    """Explain the words that argparse did not parse: unknown flags, with their values, and stray words."""
    faults = []
    value_may_follow = False
    for word in words:
        if word.startswith("-"):
            flag, equals, _ = word.partition("=")
            faults.append(explain_unknown(flag, _flag, ["config", "print_config", "version", "help"]))
            value_may_follow = not equals
        elif value_may_follow:
            value_may_follow = False
        else:
            faults.append(f"{show(word)}: is not a flag; settings are given as flags, such as --port 50051")
    return faults


def _explain_usage(error: ArgumentError) -> str:
    name = (error.argument_name or "").removeprefix("--").replace("-", "_")
    why = f"needs a value: {say_what_fits(name)}" if name in Settings.model_fields else error.message
    return f"{error.argument_name}: {why}"


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _as_toml(value: object) -> str:
    match value:
        case None | ():
            return '"off"'
        case tuple():
            return f"[{', '.join(map(_as_toml, value))}]"
        case bool():
            return str(value).lower()
        case SecretStr():
            return '"********"'
        case Path():
            return _as_toml(str(value))
        case str():
            quoted = value.replace("\\", "\\\\").replace('"', '\\"')
            return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in quoted) + '"'
        case _:
            return str(value)
