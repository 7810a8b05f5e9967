"""What serves in a run of the tests: ``pytest --grpc-engine native``, and with or without ``--tls``."""

from __future__ import annotations

import atexit
import os
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, Literal, cast, get_args

import pytest

from bcast_grpc.settings import Settings
from tests.authority import Authority, Files, shared_ca

Engine = Literal["native", "grpcio"]

_FIELD = Settings.model_fields["grpc_engine"]
_VARIABLE = "BCAST_GRPC_ENGINE"
_TLS = "TESTS_TLS"
_MARKERS = (
    "grpc_engine(name, reason): only for this engine, and why",
    "one_engine: the engine makes no difference, as at another door than gRPC: only with the default one",
)


def engine() -> Engine:
    """Return the engine of this run, which servers in processes of their own find in their environment."""
    return cast("Engine", os.environ.get(_VARIABLE, _FIELD.default))


def settings(**given: Any) -> Settings:
    """Return settings for a server in this process: a free port, and the engine and the certificate of this run."""
    shown = _certificate().settings if tls() and "tls_cert" not in given else {}
    return Settings(**{"port": 0, "grpc_engine": engine(), **shown, **given})


@cache
def tls() -> Authority | None:
    """Return who signs for all servers of this run; None for a run without TLS."""
    if not os.environ.get(_TLS):
        return None
    folder = mkdtemp()
    atexit.register(rmtree, folder, ignore_errors=True)
    return Authority(Path(folder), shared_ca())


@cache
def _certificate() -> Files:
    authority = tls()
    assert authority
    return authority.sign("server")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let one choose."""
    names = get_args(_FIELD.annotation)
    parser.addoption(
        "--grpc-engine",
        choices=[*names, "other"],
        default=_FIELD.default,
        help=f"what serves gRPC (default: {_FIELD.default}, as the setting's; other: not that one)",
    )
    parser.addoption("--tls", action="store_true", help="servers in this process speak TLS, where the test can")


def pytest_configure(config: pytest.Config) -> None:
    """Choose it, for this process and those that tests start."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    chosen = config.getoption("--grpc-engine")
    if chosen == "other":
        (chosen,) = set(get_args(_FIELD.annotation)) - {_FIELD.default}
    os.environ[_VARIABLE] = chosen
    if config.getoption("--tls"):
        os.environ[_TLS] = "1"


def pytest_report_header() -> str:
    """Say which it is."""
    return f"grpc engine: {engine()}{', with TLS' if tls() else ''}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is true of the other engine only, and what is as true of any and is tested with the default one."""
    for item in items:
        if (marker := item.get_closest_marker("grpc_engine")) and marker.args != (engine(),):
            item.add_marker(pytest.mark.skip(reason=f"only with {marker.args[0]}: {marker.kwargs['reason']}"))
        elif not marker and item.get_closest_marker("one_engine") and engine() != _FIELD.default:
            item.add_marker(pytest.mark.skip(reason="the engine makes no difference"))
