"""The values that settings have: which are valid, and in which unit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from bcast_grpc.settings import checks

# A request frame is limited to gRPC's default of 4 MiB; 64 KiB are reserved for the other fields.
_MAX_MESSAGE_BYTES = 4 * 2**20 - 64 * 2**10
# gRPC counts milliseconds in 32 bits.
_MAX_TIME_S = 2**31 // 1000


@dataclass(frozen=True, slots=True)
class Accepts:
    """What a setting accepts, in ``words`` for an error text, and the ``unit`` that stands for a value in the help."""

    words: str
    unit: str


_Number = BeforeValidator(checks.refuse_bool)
_File = AfterValidator(checks.check_file)

Host = Annotated[str, AfterValidator(checks.check_host), Accepts("an IP address (no brackets) or a host name", "HOST")]
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
    BeforeValidator(checks.split),
    AfterValidator(checks.check_origins),
    Accepts("origins such as https://chat.example.org, separated by commas, or * for all", "ORIGIN"),
]
Networks = Annotated[
    tuple[str, ...],
    NoDecode,
    BeforeValidator(checks.split),
    AfterValidator(checks.check_networks),
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
OptionalInterval = Annotated[
    float | None,
    Field(gt=0, le=_MAX_TIME_S, allow_inf_nan=False),
    _Number,
    Accepts(f"a number of seconds above 0, at most {_MAX_TIME_S}, or off", "SECONDS"),
]
Store = Annotated[
    str,
    AfterValidator(checks.check_store),
    Accepts("memory:, sqlite:PATH, nats://HOST:PORT[,HOST:PORT], or nats:embedded[:FOLDER]", "STORE"),
]
Workers = Annotated[int, Field(ge=1, le=256), _Number, Accepts("a whole number from 1 to 256", "COUNT")]
Cluster = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$"), Accepts("1 to 32 letters, digits, - or _ (ASCII)", "NAME")
]
SecretFile = Annotated[Path | None, _File, Accepts("the path of a file, or off", "FILE")]
OptionalFile = Annotated[Path | None, _File, Accepts("the path of a PEM file, or off", "FILE")]
Sources = Annotated[
    tuple[str, ...],
    NoDecode,
    BeforeValidator(checks.split),
    AfterValidator(checks.check_token_keys),
    Accepts("files (PEM, JWKS or a secret) or https:// URLs of a JWKS, separated by commas", "SOURCE"),
]
OptionalText = Annotated[str | None, Field(min_length=1), Accepts("a string, or off", "TEXT")]
RightsPath = Annotated[Path | None, _File, Accepts("the path of a TOML file, or off", "FILE")]
Switch = Annotated[bool, BeforeValidator(checks.read_switch), Accepts("1 or 0", "0|1")]
Rate = Annotated[
    float | None,
    Field(gt=0, allow_inf_nan=False),
    _Number,
    Accepts("a number of messages a second above 0, or off", "MESSAGES/S"),
]
Burst = Annotated[int | None, Field(ge=1), _Number, Accepts("a whole number, at least 1, or off", "MESSAGES")]
