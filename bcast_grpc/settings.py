"""Every setting of the server, declared once.

A field of ``Settings`` is a flag (``--drain-s``), an environment variable (``BCAST_DRAIN_S``) and a key of the TOML
file (``drain_s``); its type says which values are valid and in which unit, its description what it is for. This module
reads nothing from outside: ``bcast_grpc.server.arguments`` does that.

This module is long because all settings are in one place.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

from bcast_grpc.errors import BcastError, ErrorCode
from bcast_grpc.origins import parse_origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

PREFIX = "BCAST_"
"""What the environment variables begin with."""

# A request frame is limited to gRPC's default of 4 MiB; 64 KiB are reserved for the other fields.
_MAX_MESSAGE_BYTES = 4 * 2**20 - 64 * 2**10
NATS_PORT = 4222
"""Where NATS listens unless it is told otherwise."""
# The size of a queued message beyond its text and data: its ids, its author, the frame around it.
_MESSAGE_OVERHEAD_BYTES = 4096
# gRPC counts milliseconds in 32 bits.
_MAX_TIME_S = 2**31 // 1000


class SettingsError(BcastError):
    """Some settings are invalid.

    Attributes:
        faults: one line for each invalid setting; the message joins them.
    """

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__(ErrorCode.UNSPECIFIED, "\n".join(self.faults))


@dataclass(frozen=True, slots=True)
class Accepts:
    """What a setting accepts, in ``words`` for an error text, and the ``unit`` that stands for a value in the help."""

    words: str
    unit: str


def _check_host(host: str) -> str:
    if re.fullmatch(r"[\w:%-]+(\.[\w:%-]+)*\.?", host, re.ASCII) is None:
        raise ValueError
    if ":" in host or host.replace(".", "").isdigit():
        ip_address(host)
    return host


_NO_FILES = (
    (r":?memory:?|:.*", "memory: to keep messages in memory, or sqlite:./{path} for a file of that name"),
    (r"file:.*", "a path, not a URI: sqlite:chat.db, or sqlite:./{path} for a file of that name"),
    (r"//.*", "a path, not a URL: sqlite:chat.db in this directory, or sqlite:/var/lib/chat.db"),
    (r"(?!\.{0,2}/).*\?\w+=.*", "a path without parameters: sqlite:{bare}"),
    (r"~.*", "a full path, since ~ is not expanded: sqlite:/home/…, or sqlite:./{path} for a file of that name"),
    (r"\s.*|.*\s", "a path without blanks around it: sqlite:{stripped}"),
    (r".*[\x00-\x1f\x7f].*", "a path without control characters"),
    (r"(.*/)?\.{0,2}", "the path of a file, not of a directory: sqlite:{directory}chat.db"),
)
"""Texts that look like a path but were meant to be something else, and what would be right."""


NATS_SCHEMES = ("nats://", "tls://")
"""What the stores that many servers share begin with; the second demands TLS."""


def _check_store(store: str) -> str:
    for scheme in NATS_SCHEMES:
        if store.startswith(scheme):
            return scheme + ",".join(map(_check_server, store.removeprefix(scheme).split(",")))
    scheme, _, path = store.partition("sqlite:")
    if store == "memory:":
        return store
    if scheme or not path.strip():
        raise ValueError
    for pattern, words in _NO_FILES:
        if re.fullmatch(pattern, path, re.DOTALL | re.IGNORECASE):
            directory = path if path.endswith("/") else f"{path}/"
            shown = {"path": path, "bare": path.partition("?")[0], "stripped": path.strip(), "directory": directory}
            raise PydanticCustomError("must_be", words.format_map(shown))
    return store


def _check_server(server: str) -> str:
    if "@" in server:  # the log and --print-config name the server
        raise PydanticCustomError("must_be", "nats://HOST:PORT without a user: use store-user and store-password-file")
    parts = re.fullmatch(r"(\[[^\[\]]+\]|[^\[\]:]+)(?::(\d+))?", server.strip())
    if parts is None or not 0 < int(parts[2] or NATS_PORT) < 65536:
        raise ValueError
    _check_host(parts[1].strip("[]"))
    return f"{parts[1]}:{parts[2] or NATS_PORT}"


def _check_file(file: Path | None) -> Path | None:
    if file is not None and (str(file) == "." or not str(file).isprintable()):
        raise ValueError
    return file


def _split(listed: object) -> object:
    if listed is None:
        return ()
    parts = [listed] if isinstance(listed, str) else listed
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        return listed
    return [one.strip() for part in parts for one in part.split(",")]


def _check_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(origin if origin == "*" else str(parse_origin(origin)) for origin in origins)


def _check_networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(_unmapped(ip_network(network))) for network in networks)


def _unmapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Return the IPv4 network that IPv6 maps, as addresses are compared."""
    mapped = isinstance(network, IPv6Network) and network.prefixlen >= 96 and network.network_address.ipv4_mapped
    return IPv4Network((mapped, network.prefixlen - 96)) if mapped else network


def _check_token_keys(sources: tuple[str, ...]) -> tuple[str, ...]:
    for source in sources:
        scheme, colon, rest = source.partition("://")
        if not source.isprintable() or not source or (colon and scheme != "https"):
            raise ValueError
        if colon and "@" in rest.partition("/")[0]:  # the log and --print-config name the URL
            raise PydanticCustomError("must_be", "a URL without a user and a password: keys that verify are public")
    return sources


def _read_switch(value: object) -> object:
    """Read a switch: environment variables and flags have 1 and 0, TOML has true and false."""
    if value in ("1", "0", "true", "false", 1, 0):
        return value in ("1", "true", 1)
    raise ValueError


def _refuse_bool(value: object) -> object:
    """Keep ``port = true`` from being port 1."""
    if isinstance(value, bool):
        raise ValueError  # the only exception that pydantic turns into a validation error
    return value


_Number = BeforeValidator(_refuse_bool)

Host = Annotated[str, AfterValidator(_check_host), Accepts("an IP address (no brackets) or a host name", "HOST")]
Port = Annotated[
    int, Field(ge=0, le=65535), _Number, Accepts("a whole number from 0 to 65535 (0 picks a free port)", "PORT")
]
OptionalPort = Annotated[
    int | None,
    Field(ge=0, le=65535),
    _Number,
    Accepts("a whole number from 0 to 65535 (0 picks a free port), or off", "PORT"),
]
Origins = Annotated[
    tuple[str, ...],
    NoDecode,  # the environment variable is not JSON
    BeforeValidator(_split),
    AfterValidator(_check_origins),
    Accepts("origins such as https://chat.example.org, separated by commas, or * for all", "ORIGIN"),
]
Networks = Annotated[
    tuple[str, ...],
    NoDecode,
    BeforeValidator(_split),
    AfterValidator(_check_networks),
    Accepts("IP addresses or networks such as 10.0.0.0/8, separated by commas", "NETWORK"),
]
Count = Annotated[int, Field(ge=1), _Number, Accepts("a whole number, at least 1", "COUNT")]
Bytes = Annotated[int, Field(ge=1), _Number, Accepts("a whole number of bytes, at least 1", "BYTES")]
Replicas = Annotated[int, Field(ge=1, le=5), _Number, Accepts("a whole number from 1 to 5", "COUNT")]
Amount = Annotated[int, Field(ge=0), _Number, Accepts("a whole number, 0 or more", "COUNT")]
AmountOfBytes = Annotated[int, Field(ge=0), _Number, Accepts("a whole number of bytes, 0 or more", "BYTES")]
MessageBytes = Annotated[
    int,
    Field(ge=1, le=_MAX_MESSAGE_BYTES),
    _Number,
    Accepts(f"a whole number of bytes from 1 to {_MAX_MESSAGE_BYTES} (4 MiB of a gRPC request less 64 KiB)", "BYTES"),
]
OptionalBytes = Annotated[
    int | None,
    Field(ge=1),
    _Number,
    Accepts("a whole number of bytes, at least 1, or off (half of the memory of the machine or the cgroup)", "BYTES"),
]
Grace = Annotated[
    float,
    Field(ge=0, le=_MAX_TIME_S, allow_inf_nan=False),
    _Number,
    Accepts(f"a number of seconds from 0 to {_MAX_TIME_S}", "SECONDS"),
]
Interval = Annotated[
    float,
    Field(gt=0, le=_MAX_TIME_S, allow_inf_nan=False),
    _Number,
    Accepts(f"a number of seconds above 0, at most {_MAX_TIME_S}", "SECONDS"),
]
Store = Annotated[str, AfterValidator(_check_store), Accepts("memory:, sqlite:PATH or nats://HOST:PORT", "STORE")]
Cluster = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$"), Accepts("1 to 32 letters, digits, - or _ (ASCII)", "NAME")
]
SecretFile = Annotated[Path | None, AfterValidator(_check_file), Accepts("the path of a file, or off", "FILE")]
OptionalFile = Annotated[Path | None, AfterValidator(_check_file), Accepts("the path of a PEM file, or off", "FILE")]
Sources = Annotated[
    tuple[str, ...],
    NoDecode,
    BeforeValidator(_split),
    AfterValidator(_check_token_keys),
    Accepts("files (PEM, JWKS or a secret) or https:// URLs of a JWKS, separated by commas", "SOURCE"),
]
OptionalText = Annotated[str | None, Field(min_length=1), Accepts("a string, or off", "TEXT")]
RightsPath = Annotated[Path | None, AfterValidator(_check_file), Accepts("the path of a TOML file, or off", "FILE")]
Switch = Annotated[bool, BeforeValidator(_read_switch), Accepts("1 or 0", "0|1")]
Rate = Annotated[
    float | None,
    Field(gt=0, allow_inf_nan=False),
    _Number,
    Accepts("a number of messages a second above 0, or off", "MESSAGES/S"),
]
Burst = Annotated[int | None, Field(ge=1), _Number, Accepts("a whole number, at least 1, or off", "MESSAGES")]


class Settings(BaseModel):
    """The settings of a server.

    Raises:
        SettingsError: some values are invalid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    host: Host = Field("127.0.0.1", description="address to listen on")
    port: Port = Field(50051, description="port for gRPC; 0 picks a free one")
    grpc_engine: Literal["native", "grpcio"] = Field(
        "native", description="what speaks gRPC: the server itself, or the library grpcio"
    )
    http_port: OptionalPort = Field(
        None, description="port for the web page, WebSockets and health; 0 picks a free one"
    )
    tcp_port: OptionalPort = Field(None, description="port for plain JSON sockets; 0 picks a free one")
    http_allow_origin: Origins = Field(
        (), description="origins whose pages may open the WebSocket, besides the server's own; may be repeated"
    )
    tls_cert: OptionalFile = Field(
        None, description="PEM file with the server's certificate and its chain: every door then speaks TLS only"
    )
    tls_key: OptionalFile = Field(None, description="PEM file with the key of tls-cert")
    tls_client_ca: OptionalFile = Field(
        None, description="PEM file with authorities: clients must then present a certificate signed by one of them"
    )
    handshake_timeout_s: Interval = Field(
        10,
        description="time for TLS, the HTTP/2 preface, the headers of an HTTP request, and a first object with a token",
    )
    token_keys: Sources = Field(
        (),
        description="what verifies tokens: a file with a public key, a JWKS or a secret, or a URL; may be repeated",
    )
    token_issuer: OptionalText = Field(None, description="the iss that tokens must have")
    token_audience: OptionalText = Field(None, description="the aud that tokens must have")
    rights: RightsPath = Field(None, description="TOML file that says who may do what in which rooms")
    plaintext: Switch = Field(
        False, description="serve other machines without TLS, because a proxy in front of the server ends it"
    )
    open: Switch = Field(
        False, description="serve other machines without TLS and without authentication: anyone may connect"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="write log lines of this level and above"
    )
    log_format: Literal["text", "json"] = Field("text", description="form of the log on stderr")
    drain_s: Grace = Field(10, description="on SIGTERM or SIGINT: time for clients to receive what is queued")
    keepalive_s: Interval = Field(
        20, description="interval of pings on an idle connection; after twice this without an answer, disconnect"
    )
    max_message_bytes: MessageBytes = Field(65536, description="largest message, text plus data")
    max_clients: Count = Field(20000, description="most clients connected at once")
    max_clients_per_peer: Amount = Field(
        1000,
        description="most clients connected at once from one IPv4 address or IPv6 /64; 0: no bound;"
        " addresses of this machine are bounded only if this is set",
    )
    max_streams_per_connection: Count = Field(1000, description="most HTTP/2 streams on one connection")
    trusted_proxy: Networks = Field(
        (),
        description="addresses or networks of proxies, whose PROXY header, Forwarded or X-Forwarded-For says where a"
        " client comes from; may be repeated",
    )
    queue_messages: Count = Field(20000, description="most messages in one client's queue")
    queue_bytes: Bytes = Field(4194304, description="most bytes in one client's queue")
    slow_policy: Literal["disconnect", "drop", "catch-up"] = Field(
        "disconnect", description="what happens to a client whose queue is full"
    )
    history_messages: Amount = Field(1000, description="messages kept for each room")
    history_bytes: AmountOfBytes = Field(8388608, description="bytes of messages kept for each room")
    history_age_s: Grace = Field(3600, description="how long messages are kept")
    dedup_s: Grace = Field(120, description="how long an id is remembered, so that a retry is not delivered twice")
    max_memory: OptionalBytes = Field(
        None,
        description="most bytes for histories, ids, queues, unfinished messages and writes to the store;"
        " off: half of the memory of the machine or the cgroup",
    )
    progress_s: Interval = Field(30, description="interval of PROGRESS events")
    store: Store = Field(
        "memory:",
        description="where messages are kept: memory:, sqlite:PATH, or nats://HOST:PORT[,HOST:PORT…] (tls:// with TLS)"
        " to share rooms with other servers",
    )
    cluster: Cluster = Field("bcast", description="servers on one NATS with the same name share their rooms")
    store_replicas: Replicas = Field(1, description="how many NATS servers keep each message")
    store_create: Literal["yes", "no"] = Field("yes", description="make the stream in NATS if there is none")
    store_user: OptionalText = Field(None, description="user for NATS; its password is in store-password-file")
    store_password_file: SecretFile = Field(None, description="file with the password of store-user")
    store_nkey_file: SecretFile = Field(None, description="file with the seed of an NKey for NATS")
    store_creds: SecretFile = Field(None, description="credentials file for NATS (.creds)")
    store_ca: OptionalFile = Field(None, description="authorities that sign the certificates of NATS servers")
    store_cert: OptionalFile = Field(None, description="certificate that is shown to NATS")
    store_key: OptionalFile = Field(None, description="private key of store-cert")
    broker_patience_s: Interval = Field(
        15,
        description="how long messages wait for NATS before they are refused as BROKER_UNAVAILABLE",
    )
    rate: Rate = Field(None, description="most messages a second from one client")
    burst: Burst = Field(None, description="most messages at once from one client; follows the rate unless set")

    @field_validator("*", mode="before")
    @classmethod
    def _read_off(cls, value: object) -> object:
        return None if value == "off" else value

    @field_validator("queue_bytes")
    @classmethod
    def _hold_a_message(cls, queue_bytes: int, info: ValidationInfo) -> int:
        # An invalid max_message_bytes is not in info.data, and has been reported already.
        least = info.data.get("max_message_bytes", 0) + _MESSAGE_OVERHEAD_BYTES
        if queue_bytes < least and "max_message_bytes" in info.data:
            words = "at least max-message-bytes + {overhead} = {least}: a queue must hold one message"
            raise PydanticCustomError("must_be", words, {"overhead": _MESSAGE_OVERHEAD_BYTES, "least": least})
        return queue_bytes

    @field_validator("tls_key", "tls_client_ca")
    @classmethod
    def _belong_to_tls(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        if "tls_cert" in info.data:
            has_cert = info.data["tls_cert"] is not None
            if file is not None and not has_cert:
                raise PydanticCustomError("must_be", "off unless tls-cert is set")
            if file is None and has_cert and info.field_name == "tls_key":
                raise PydanticCustomError("must_be", "the path of the PEM file with the key of tls-cert")
        return file

    @field_validator("store_user", "store_password_file", "store_nkey_file", "store_creds", "store_cert", "store_key")
    @classmethod
    def _log_in_once(cls, value: object, info: ValidationInfo) -> object:
        partner = {"store_password_file": "store_user", "store_key": "store_cert"}.get(info.field_name or "")
        if partner in info.data and (info.data[partner] is None) != (value is None):
            there = f"{partner.replace('_', '-')} is set" if value is None else f"{partner.replace('_', '-')} is off"
            words = "the path of a file if {there}" if value is None else "off if {there}"
            raise PydanticCustomError("must_be", words, {"there": there})
        if value is not None and not info.data.get("store", NATS_SCHEMES[0]).startswith(NATS_SCHEMES):
            raise PydanticCustomError("must_be", "off unless store is nats://HOST:PORT or tls://HOST:PORT")
        logins = [info.data.get(name) for name in ("store_user", "store_nkey_file")]
        if value is not None and info.field_name in ("store_nkey_file", "store_creds") and any(logins):
            raise PydanticCustomError("must_be", "off: store-user, store-nkey-file and store-creds exclude each other")
        return value

    @field_validator("open")
    @classmethod
    def _mean_one_thing(cls, is_open: bool, info: ValidationInfo) -> bool:
        if is_open and info.data.get("token_keys"):
            raise PydanticCustomError("must_be", "0 if token-keys is set: use one of the two")
        return is_open

    @field_validator("token_issuer", "token_audience")
    @classmethod
    def _belong_to_tokens(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is not None and info.data.get("token_keys") == ():
            raise PydanticCustomError("must_be", "off unless token-keys is set")
        return text

    @field_validator("burst")
    @classmethod
    def _follow_rate(cls, burst: int | None, info: ValidationInfo) -> int | None:
        rate: float | None = info.data.get("rate")
        if burst is None:
            return None if rate is None else math.ceil(rate)
        if rate is None and "rate" in info.data:
            raise PydanticCustomError("must_be", "off while rate is off")
        return burst

    @model_validator(mode="wrap")
    @classmethod
    def _speak_plainly(cls, values: Any, validate: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """Turn pydantic's errors into a ``SettingsError``; ``info.context`` says how each value was written."""
        try:
            return validate(values)
        except ValidationError as error:
            raise SettingsError(_explain(error, info.context or {})) from None


def explain_unknown(written: str, spell: Callable[[str], str], also: Iterable[str] = (), where: str = "") -> str:
    """Return the error text for an unknown setting, with the nearest known one.

    Args:
        written: the unknown name, as it was written.
        spell: turns a setting's name into its spelling in that place.
        also: names that are valid there besides those of the settings.
        where: where it was written, with a space before it.
    """
    bare = written.removeprefix(PREFIX).lstrip("-").replace("-", "_").lower()
    near = get_close_matches(bare, [*Settings.model_fields, *also], n=1)
    hint = f"; did you mean {spell(near[0])}?" if near else ""
    return f"{show(written)}{where}: no such setting{hint}"


def _explain(error: ValidationError, written: Mapping[str, str]) -> list[str]:
    faults = []
    for fault in error.errors(include_url=False):
        name = str(next(iter(fault["loc"]), ""))
        what = written.get(name, f"{name}={fault['input']!r}")
        if fault["type"] == "extra_forbidden":
            faults.append(explain_unknown(name, str))
        else:
            faults.append(f"{what}: must be {fault['msg'] if fault['type'] == 'must_be' else say_what_fits(name)}")
    return faults


def say_what_fits(name: str) -> str:
    """Return what the setting accepts, in words."""
    field = Settings.model_fields[name]
    words = [one.words for one in field.metadata if isinstance(one, Accepts)]
    return words[0] if words else _one_of(get_args(field.annotation))


def _one_of(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def show(text: str | list[str] | None) -> str:
    """Return a value as it was written, quoted if it is empty, has spaces or could control a terminal."""
    shown = "off" if text is None else ",".join(text) if isinstance(text, list) else text
    return shown if shown.isprintable() and shown and " " not in shown else repr(shown)
