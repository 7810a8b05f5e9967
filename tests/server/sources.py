"""The sources of settings, filled for tests: flags, the environment and a file."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest

from bcast_grpc.server.arguments import Loaded, load
from bcast_grpc.settings import Settings, SettingsError

NAMES = list(Settings.model_fields)
DEFAULTS = Settings()
SOURCES = ["flag", "environment", "file"]
EACH = list(product(NAMES, SOURCES))
KEYS = {"token_keys": ("keys.json",)}
NATS = {"store": "nats://127.0.0.1:4222"}
NEEDS: dict[str, dict[str, Any]] = {
    "burst": {"rate": 1},
    "tls_cert": {"tls_key": "key.pem"},
    "tls_key": {"tls_cert": "cert.pem"},
    "tls_client_ca": {"tls_cert": "cert.pem", "tls_key": "key.pem"},
    "token_issuer": KEYS,
    "token_audience": KEYS,
    "store_user": NATS | {"store_password_file": "password"},
    "store_password_file": NATS | {"store_user": "ana"},
    "store_nkey_file": NATS,
    "store_creds": NATS,
    "store_cert": NATS | {"store_key": "key.pem"},
    "store_key": NATS | {"store_cert": "cert.pem"},
}
"""What must be set for a setting to fit."""

FITTING = {
    "host": "localhost",
    "store": "nats:embedded:store",
    "http_allow_origin": ("https://chat.example", "http://b.example:8080"),
    "token_keys": ("keys/public.pem", "https://id.example/jwks.json"),
    "token_issuer": "https://id.example",
    "token_audience": "chat",
    "rights": Path("rights.toml"),
    "cluster": "chat",
    "store_user": "bcast",
    "trusted_proxy": ("10.0.0.0/8", "::1/128"),
}
"""Of those that take more than a number or one of some words."""


def flag(name: str) -> str:
    """The flag of a setting."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return "BCAST_" + name.upper()


def fitting(name: str) -> Any:
    """A value that fits, and is not the default where there is another."""
    field = Settings.model_fields[name]
    if name in FITTING:
        return FITTING[name]
    if name.startswith(("tls_", "store_")) and field.default is None:
        return Path("/etc/bcast", f"{name}.pem")
    if field.default is None:
        return 3
    if field.default is False:
        return True
    return get_args(field.annotation)[-1] if isinstance(field.default, str) else field.default + 1


def plain(value: object) -> str:
    """A value as it is written in a word."""
    return ",".join(value) if isinstance(value, tuple) else str(int(value) if isinstance(value, bool) else value)


def toml(value: object) -> str:
    """A value as it is written in a file."""
    match value:
        case bool():
            return str(value).lower()
        case tuple():
            return repr(list(value))
        case Path():
            return repr(str(value))
    return repr(value)


class Sources:
    """The three sources, filled."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.argv = ["--config", str(path)]
        self.environ: dict[str, str] = {}
        path.write_text("")

    def put(self, source: str, values: dict[str, Any]) -> None:
        """Write settings into one of them."""
        match source:
            case "flag":
                self.argv += [word for name, value in values.items() for word in (flag(name), plain(value))]
            case "environment":
                self.environ |= {variable(name): plain(value) for name, value in values.items()}
            case "file":
                lines = [f"{name} = {toml(value)}\n" for name, value in values.items()]
                self.path.write_text(self.path.read_text() + "".join(lines))

    def load(self) -> Loaded:
        """Load what was put."""
        return load(self.argv, self.environ)

    def written(self, source: str, name: str, value: str) -> str:
        """How a fault names that value."""
        return {
            "flag": f"{flag(name)} {value!r}",
            "environment": f"{variable(name)}={value!r}",
            "file": f'{name} = "{value}" in {self.path}',
        }[source]

    def origin(self, source: str, name: str) -> str:
        """What is printed of where that setting came from."""
        return {
            "flag": f"flag {flag(name)}",
            "environment": f"environment {variable(name)}",
            "file": f"file {self.path}",
            "default": "default",
        }[source]


def faults_of(*argv: str, **environ: str) -> list[str]:
    """What is said about it, a line for each fault, and in our own words."""
    with pytest.raises(SettingsError) as caught:
        load(argv, environ)
    said = str(caught.value)
    assert not any(word in said for word in ("pydantic", "https://err", "Input should", "validation", "error parsing"))
    assert said.splitlines() == list(caught.value.faults)
    return said.splitlines()
