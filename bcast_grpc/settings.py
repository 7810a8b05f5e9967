"""Every setting of the server, declared once.

A field of ``Settings`` is a flag (``--drain-s``), an environment variable (``BCAST_DRAIN_S``) and a key of the TOML
file (``drain_s``); its type says what fits and in which unit, its description what it is for. pydantic-settings reads
the three sources; ``load`` asks each on its own, so that every value, and every fault, knows where it was written.
"""

from __future__ import annotations

import math
import re
from argparse import ArgumentError, ArgumentParser, RawDescriptionHelpFormatter
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    EnvSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from bcast_grpc.errors import BcastError, ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_PREFIX = "BCAST_"
_CONFIG = "BCAST_CONFIG"
_CLIENTS_OWN = "BCAST_TARGET"  # read by the terminal client; the server lets it be

# A request frame is limited to gRPC's default of 4 MiB; 64 KiB are kept for what comes along with the message.
_MAX_MESSAGE_BYTES = 4 * 2**20 - 64 * 2**10
# What a queued message may weigh beyond its text and data: its ids, its author, the frame around it.
_MESSAGE_OVERHEAD_BYTES = 4096
# gRPC counts milliseconds in 32 bits.
_MAX_TIME_S = 2**31 // 1000


class SettingsError(BcastError):
    """The settings do not fit.

    Attributes:
        faults: what is wrong, a line for each; the message is all of them.
    """

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__(ErrorCode.UNSPECIFIED, "\n".join(self.faults))


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value, in words for a person: what it ``takes``, and the ``unit`` that stands for it in the help."""

    takes: str
    unit: str


def _check_host(host: str) -> str:
    if re.fullmatch(r"[\w:%-]+(\.[\w:%-]+)*\.?", host, re.ASCII) is None:
        raise ValueError
    if ":" in host or host.replace(".", "").isdigit():
        ip_address(host)
    return host


def _refuse_bool(value: object) -> object:
    """Keep ``port = true`` from being port 1."""
    if isinstance(value, bool):
        raise ValueError  # of all exceptions, pydantic makes only this one a fault
    return value


_Number = BeforeValidator(_refuse_bool)
_TIME = f"seconds, at most {_MAX_TIME_S}"

Host = Annotated[str, AfterValidator(_check_host), Kind("an IP address (no brackets) or a host name", "HOST")]
Port = Annotated[int, Field(ge=0, le=65535), _Number, Kind("a whole number from 0 to 65535 (0: a free one)", "PORT")]
Count = Annotated[int, Field(ge=1), _Number, Kind("a whole number, at least 1", "COUNT")]
Bytes = Annotated[int, Field(ge=1), _Number, Kind("a whole number of bytes, at least 1", "BYTES")]
MessageBytes = Annotated[
    int,
    Field(ge=1, le=_MAX_MESSAGE_BYTES),
    _Number,
    Kind(f"a whole number of bytes from 1 to {_MAX_MESSAGE_BYTES} (4 MiB of a gRPC request less 64 KiB)", "BYTES"),
]
Grace = Annotated[
    float, Field(ge=0, le=_MAX_TIME_S, allow_inf_nan=False), _Number, Kind(f"0 or more {_TIME}", "SECONDS")
]
Interval = Annotated[
    float, Field(gt=0, le=_MAX_TIME_S, allow_inf_nan=False), _Number, Kind(f"more than 0 {_TIME}", "SECONDS")
]
Rate = Annotated[
    float | None, Field(gt=0, allow_inf_nan=False), _Number, Kind("more than 0 messages a second, or off", "MESSAGES/S")
]
Burst = Annotated[int | None, Field(ge=1), _Number, Kind("a whole number, at least 1, or off", "MESSAGES")]


class Settings(BaseModel):
    """What the server is told. Reads nothing but its arguments; ``load`` reads the outside.

    Raises:
        SettingsError: for what does not fit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    host: Host = Field("127.0.0.1", description="address to listen on")
    port: Port = Field(50051, description="port for gRPC; 0 takes a free one")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="write log lines of this level and above"
    )
    log_format: Literal["text", "json"] = Field("text", description="form of the log on stderr")
    drain_s: Grace = Field(10, description="on SIGTERM or SIGINT: how long clients get to receive what is queued")
    keepalive_s: Interval = Field(20, description="ping an idle connection; no answer within twice this: gone")
    max_message_bytes: MessageBytes = Field(65536, description="text plus data of a message")
    max_clients: Count = Field(20000, description="clients connected at once")
    queue_messages: Count = Field(20000, description="bound of one client's queue, in messages")
    queue_bytes: Bytes = Field(4194304, description="bound of one client's queue, in bytes")
    slow_policy: Literal["disconnect"] = Field("disconnect", description="what becomes of a client whose queue is full")
    progress_s: Interval = Field(30, description="interval of PROGRESS events")
    store: Literal["memory:"] = Field("memory:", description="where messages are kept")
    rate: Rate = Field(None, description="messages a second for one client")
    burst: Burst = Field(None, description="how many of them at once; follows the rate unless set")

    @field_validator("*", mode="before")
    @classmethod
    def _read_off(cls, value: object) -> object:
        return None if value == "off" else value

    @field_validator("queue_bytes")
    @classmethod
    def _hold_a_message(cls, queue_bytes: int, info: ValidationInfo) -> int:
        # What did not fit is not in info.data, and a fault already.
        least = info.data.get("max_message_bytes", 0) + _MESSAGE_OVERHEAD_BYTES
        if queue_bytes < least and "max_message_bytes" in info.data:
            words = "at least max-message-bytes + {overhead} = {least}: a queue must hold one message"
            raise PydanticCustomError("takes", words, {"overhead": _MESSAGE_OVERHEAD_BYTES, "least": least})
        return queue_bytes

    @field_validator("burst")
    @classmethod
    def _follow_rate(cls, burst: int | None, info: ValidationInfo) -> int | None:
        rate: float | None = info.data.get("rate")
        if burst is None:
            return None if rate is None else math.ceil(rate)
        if rate is None and "rate" in info.data:
            raise PydanticCustomError("takes", "nothing but off while rate is off")
        return burst

    @model_validator(mode="wrap")
    @classmethod
    def _speak_plainly(cls, values: Any, validate: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """Turn pydantic's report into ours; ``info.context`` says how each value was written."""
        try:
            return validate(values)
        except ValidationError as error:
            raise SettingsError(_explain(error, info.context or {})) from None


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
    """The declaration in the shape that pydantic-settings' sources read it in. Never made."""

    model_config = SettingsConfigDict(case_sensitive=True, env_prefix=_PREFIX)


def load(argv: Sequence[str], environ: Mapping[str, str]) -> Loaded:
    """Read the settings: a flag beats the environment, which beats the file, which beats the default.

    Args:
        argv: the arguments, without the program's name.
        environ: the environment variables; those that do not begin with ``BCAST_`` are let be.

    Raises:
        SettingsError: with all that does not fit.
        SystemExit: with code 0, when ``--help`` or ``--version`` was asked for, and printed to stdout.
    """
    parser, source = _make_parser()
    try:
        asked, unknown = parser.parse_known_args(list(argv))
    except ArgumentError as error:  # this ends the reading of argv, so that --config may not be known either
        raise SettingsError([_explain_usage(error)]) from None
    faults = _find_unknown_flags(unknown)
    given = _read_environment(environ, faults) | _read_flags(source(parsed_args=asked)())
    file, named = (environ.get(_CONFIG), f"{_CONFIG}=") if asked.config is None else (asked.config, "--config ")
    if file is not None:
        given = _read_file(file, f"{named}{_show(file)}", faults) | given
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
    return "".join(f"{name} = {_as_toml(value)}  # {loaded.origins[name]}\n" for name, value in loaded.settings)


def _make_parser() -> tuple[ArgumentParser, CliSettingsSource[ArgumentParser]]:
    """Make the parser of the command line, with a flag for each setting, and the source that reads its result.

    The parser is our own rather than pydantic-settings', whose faults are ready-made sentences.
    """
    from bcast_grpc import __version__

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
    """Add a flag as pydantic-settings says, with the setting's unit in place of its Python type."""
    field = Settings.model_fields.get(options.get("dest", ""))
    for kind in field.metadata if field else ():
        if isinstance(kind, Kind):
            options["metavar"] = kind.unit
    parser.add_argument(*flags, **options)


def _read_flags(values: Mapping[str, Any]) -> dict[str, _Given]:
    return {
        name: _Given(value, f"flag {_flag(name)}", f"{_flag(name)} {_show(value)}") for name, value in values.items()
    }


def _read_environment(environ: Mapping[str, str], faults: list[str]) -> dict[str, _Given]:
    known = {_variable(name) for name in Settings.model_fields}
    ours = {variable: text for variable, text in environ.items() if variable.startswith(_PREFIX)}
    unknown = sorted(ours.keys() - known - {_CONFIG, _CLIENTS_OWN})
    faults.extend(_explain_unknown(variable, _variable, ["config"]) for variable in unknown)
    source = EnvSettingsSource(_Declared, case_sensitive=False)
    # It looked at os.environ, but is to read what was passed in; it looks for its names in small letters.
    source.env_vars = {variable.lower(): ours[variable] for variable in known & ours.keys()}
    return {
        name: _Given(value, f"environment {_variable(name)}", f"{_variable(name)}={_show(value)}")
        for name, value in source().items()
    }


def _read_file(name: str, written: str, faults: list[str]) -> dict[str, _Given]:
    path = _show(name)
    try:
        file = Path(name).expanduser()
        if not file.is_file():  # which the source would pass over in silence
            raise FileNotFoundError("no such file")
        values = TomlConfigSettingsSource(_Declared, toml_file=file)()
    except (OSError, RuntimeError) as error:
        faults.append(f"{written}: takes a TOML file: {getattr(error, 'strerror', None) or error}")
        return {}
    except ValueError as error:
        faults.append(f"{written}: is not TOML: {error}")
        return {}
    unknown = [key for key in values if key not in Settings.model_fields]
    faults.extend(_explain_unknown(key, str, where=f" in {path}") for key in unknown)
    return {
        key: _Given(value, f"file {path}", f"{key} = {_as_toml(value)} in {path}")
        for key, value in values.items()
        if key not in unknown
    }


def _find_unknown_flags(words: Iterable[str]) -> list[str]:
    """Explain what argparse left over: flags it does not know, with their values, and stray words."""
    faults = []
    value_may_follow = False
    for word in words:
        if word.startswith("-"):
            flag, equals, _ = word.partition("=")
            faults.append(_explain_unknown(flag, _flag, ["config", "print_config", "version", "help"]))
            value_may_follow = not equals
        elif value_may_follow:
            value_may_follow = False
        else:
            faults.append(f"{_show(word)}: only flags are taken, such as --port 50051")
    return faults


def _explain_unknown(written: str, spell: Callable[[str], str], also: Iterable[str] = (), where: str = "") -> str:
    bare = written.removeprefix(_PREFIX).lstrip("-").replace("-", "_").lower()
    near = get_close_matches(bare, [*Settings.model_fields, *also], n=1)
    hint = f"; did you mean {spell(near[0])}?" if near else ""
    return f"{_show(written)}{where}: no such setting{hint}"


def _explain_usage(error: ArgumentError) -> str:
    name = (error.argument_name or "").removeprefix("--").replace("-", "_")
    why = f"has no value; takes {_say_what_fits(name)}" if name in Settings.model_fields else error.message
    return f"{error.argument_name}: {why}"


def _explain(error: ValidationError, written: Mapping[str, str]) -> list[str]:
    faults = []
    for fault in error.errors(include_url=False):
        name = str(next(iter(fault["loc"]), ""))
        what = written.get(name, f"{name}={fault['input']!r}")
        if fault["type"] == "extra_forbidden":
            faults.append(_explain_unknown(name, str))
        else:
            faults.append(f"{what}: takes {fault['msg'] if fault['type'] == 'takes' else _say_what_fits(name)}")
    return faults


def _say_what_fits(name: str) -> str:
    field = Settings.model_fields[name]
    kinds = [kind.takes for kind in field.metadata if isinstance(kind, Kind)]
    return kinds[0] if kinds else " or ".join(get_args(field.annotation))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _variable(name: str) -> str:
    return _PREFIX + name.upper()


def _show(text: str | None) -> str:
    """Show what a person wrote, quoted where it would not be seen, or would do something to a terminal."""
    shown = "off" if text is None else text
    return shown if shown.isprintable() and shown and " " not in shown else repr(shown)


def _as_toml(value: object) -> str:
    match value:
        case None:
            return '"off"'
        case bool():
            return str(value).lower()
        case SecretStr():
            return '"********"'
        case str():
            quoted = value.replace("\\", "\\\\").replace('"', '\\"')
            return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in quoted) + '"'
        case _:
            return str(value)
