"""Every setting of the server, declared once.

A field of ``Settings`` is a flag (``--drain-s``), an environment variable (``BCAST_DRAIN_S``) and a key of the TOML
file (``drain_s``); its type says which values are valid and in which unit, its description what it is for. This module
reads nothing from outside: ``bcast_grpc.server.arguments`` does that.

This module is long because all settings are in one place.
"""

from __future__ import annotations

import math
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from bcast_grpc.errors import BcastError, ErrorCode
from bcast_grpc.settings.checks import NATS_SCHEMES
from bcast_grpc.settings.values import (
    Accepts,
    Amount,
    AmountOfBytes,
    Burst,
    Bytes,
    Cluster,
    Count,
    Grace,
    Host,
    Interval,
    MessageBytes,
    Networks,
    OptionalBytes,
    OptionalFile,
    OptionalInterval,
    OptionalPort,
    OptionalText,
    Origins,
    Port,
    Rate,
    Replicas,
    RightsPath,
    SecretFile,
    Sources,
    Store,
    Switch,
    Workers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

PREFIX = "BCAST_"
"""What the environment variables begin with."""

# The size of a queued message beyond its text and data: its ids, its author, the frame around it.
_MESSAGE_OVERHEAD_BYTES = 4096


class SettingsError(BcastError):
    """Some settings are invalid.

    Attributes:
        faults: one line for each invalid setting; the message joins them.
    """

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__(ErrorCode.UNSPECIFIED, "\n".join(self.faults))


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
    max_connection_age_s: OptionalInterval = Field(
        None, description="after this time clients are sent away, so that they spread over several servers again"
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
        description="where messages are kept: memory:, sqlite:PATH, nats://HOST:PORT[,HOST:PORT…] (tls:// with TLS)"
        " to share rooms with other servers, or nats:embedded[:FOLDER] for a NATS server that is started for this one",
    )
    workers: Workers = Field(
        1, description="how many processes serve clients on the same ports; they share their rooms over NATS"
    )
    cluster: Cluster = Field("bcast", description="servers on one NATS with the same name share their rooms")
    store_replicas: Replicas = Field(1, description="how many NATS servers keep each message")
    store_create: Literal["yes", "no", "update"] = Field(
        "yes",
        description="make the stream in NATS if there is none; update: also change the limits of one that is there",
    )
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

    @field_validator("workers")
    @classmethod
    def _share(cls, workers: int, info: ValidationInfo) -> int:
        if workers > 1 and info.data.get("store", "").startswith("sqlite:"):
            words = "1 with store {store}, whose file has one server; nats:embedded:FOLDER keeps messages for many"
            raise PydanticCustomError("must_be", words, {"store": info.data["store"]})
        if workers > info.data.get("max_clients", workers):
            raise PydanticCustomError("must_be", "at most max-clients")
        return workers

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
