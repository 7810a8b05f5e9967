"""The settings: where they may come from, which of them wins, and how they are printed."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from bcast_grpc import __version__
from bcast_grpc.errors import BcastError
from bcast_grpc.server.arguments import Loaded, format_config, load
from bcast_grpc.server.machine.limits import default_max_memory
from bcast_grpc.settings import Accepts, Settings, SettingsError

from .sources import (
    DEFAULTS,
    EACH,
    NAMES,
    NEEDS,
    SOURCES,
    Sources,
    faults_of,
    fitting,
    flag,
)

# --- where a setting may come from


@pytest.mark.parametrize(("name", "source"), EACH)
def test_every_setting_comes_from_every_source(name: str, source: str, sources: Sources) -> None:
    """A setting can be given as a flag, a variable and a key, and says which it was."""
    sources.put(source, NEEDS.get(name, {}) | {name: fitting(name)})
    loaded = sources.load()
    assert getattr(loaded.settings, name) == fitting(name)
    assert loaded.origins[name] == sources.origin(source, name)


@pytest.mark.parametrize(("name", "source"), EACH)
def test_no_setting_takes_nothing(name: str, source: str, sources: Sources) -> None:
    """An empty value is refused, by the name it was given, with what would fit."""
    sources.put(source, {name: ""})
    with pytest.raises(SettingsError) as caught:
        sources.load()
    (fault,) = caught.value.faults
    said, _, takes = fault.partition(": must be ")
    assert said == sources.written(source, name, "")
    assert takes


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_described(name: str) -> None:
    """A setting has a meaning, and either a fixed choice or a kind with its unit."""
    field = Settings.model_fields[name]
    assert field.description
    assert get_args(field.annotation) or any(isinstance(kind, Accepts) for kind in field.metadata)


def test_defaults_are_those_of_the_documentation() -> None:
    """Nothing given, everything is as documented."""
    loaded = load([], {})
    assert loaded.settings == DEFAULTS == Settings()
    assert set(loaded.origins.items()) == {(name, "default") for name in NAMES}
    assert DEFAULTS.model_dump() == {
        "host": "127.0.0.1",
        "port": 50051,
        "grpc_engine": "native",
        "http_port": None,
        "tcp_port": None,
        "http_allow_origin": (),
        "tls_cert": None,
        "tls_key": None,
        "tls_client_ca": None,
        "handshake_timeout_s": 10,
        "token_keys": (),
        "token_issuer": None,
        "token_audience": None,
        "rights": None,
        "plaintext": False,
        "open": False,
        "log_level": "info",
        "log_format": "text",
        "drain_s": 10,
        "keepalive_s": 20,
        "max_connection_age_s": None,
        "max_message_bytes": 65536,
        "max_clients": 20000,
        "max_clients_per_peer": 1000,
        "max_streams_per_connection": 1000,
        "trusted_proxy": (),
        "queue_messages": 20000,
        "queue_bytes": 4194304,
        "slow_policy": "disconnect",
        "history_messages": 1000,
        "history_bytes": 8388608,
        "history_age_s": 3600.0,
        "dedup_s": 120.0,
        "max_memory": None,
        "progress_s": 30,
        "store": "memory:",
        "workers": 1,
        "cluster": "bcast",
        "store_replicas": 1,
        "store_create": "yes",
        "store_user": None,
        "store_password_file": None,
        "store_nkey_file": None,
        "store_creds": None,
        "store_ca": None,
        "store_cert": None,
        "store_key": None,
        "broker_patience_s": 15,
        "rate": None,
        "burst": None,
    }


SOME = st.dictionaries(
    st.sampled_from([n for n in NAMES if n not in NEEDS and n != "open"]), st.booleans(), max_size=6
).map(lambda picks: {name: fitting(name) if other else getattr(DEFAULTS, name) for name, other in picks.items()})


def spelled(values: dict[str, Any]) -> dict[str, Any]:
    """The same as a person writes it."""
    return {name: "off" if value in (None, ()) else value for name, value in values.items()}


@given(flags=SOME, variables=SOME, keys=SOME)
def test_flag_beats_environment_beats_file_beats_default(
    flags: dict[str, Any], variables: dict[str, Any], keys: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The nearest source wins, for each setting on its own, even when it says what the default is."""
    sources = Sources(tmp_path_factory.getbasetemp() / "precedence.toml")
    for source, values in zip(SOURCES, (flags, variables, keys), strict=True):
        sources.put(source, spelled(values))
    loaded = sources.load()
    won = {name: getattr(DEFAULTS, name) for name in NAMES} | keys | variables | flags
    won["burst"] = won["rate"]  # which is whole here
    assert loaded.settings.model_dump() == won
    for name in NAMES:
        first = next((s for s, v in zip(SOURCES, (flags, variables, keys), strict=True) if name in v), "default")
        assert loaded.origins[name] == sources.origin(first, name)


def test_settings_in_code_read_nothing_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither argv nor the environment reach ``Settings()``, and ``load`` takes only what it is passed."""
    monkeypatch.setenv("BCAST_PORT", "1")
    monkeypatch.setenv("BCAST_NONSENSE", "1")
    monkeypatch.setattr(sys, "argv", ["bcast-server", "--port", "2", "--nonsense"])
    assert Settings().port == 50051
    assert load([], {}).settings.port == 50051
    assert load([], {"BCAST_PORT": "3"}).settings.port == 3


def test_settings_in_code_are_checked_and_frozen() -> None:
    """Keyword arguments are checked like everything else; afterwards nothing changes."""
    settings = Settings(port=0, keepalive_s=2)
    assert (settings.port, settings.keepalive_s) == (0, 2.0)
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]
    with pytest.raises(SettingsError) as caught:
        Settings(port=99999, prot=1)  # type: ignore[call-arg]
    assert caught.value.faults == (
        "port=99999: must be a whole number from 0 to 65535 (0 picks a free port)",
        "prot: no such setting; did you mean port?",
    )
    assert isinstance(caught.value, BcastError)


def test_config_may_be_named_by_the_environment(sources: Sources) -> None:
    """BCAST_CONFIG names the file unless --config does."""
    sources.put("file", {"port": 7})
    assert load([], {"BCAST_CONFIG": str(sources.path)}).settings.port == 7
    assert load(["--config", str(sources.path)], {"BCAST_CONFIG": "/nowhere"}).settings.port == 7


def test_flags_are_read_as_people_write_them() -> None:
    """Both ``--port 1`` and ``--port=1``; the last of two wins; negative numbers are values."""
    assert load(["--port=1"], {}).settings.port == 1
    assert load(["--port", "1", "--port=2"], {}).settings.port == 2
    assert faults_of("--port", "-1") == ["--port -1: must be a whole number from 0 to 65535 (0 picks a free port)"]


def test_the_clients_variable_and_those_of_others_are_let_be() -> None:
    """The client's variables are not the server's, and neither are those that do not begin with BCAST_."""
    of_clients = {"BCAST_TARGET": "x", "BCAST_TOKEN": "t", "BCAST_TOKEN_FILE": "f"}
    assert load([], {**of_clients, "PORT": "y", "bcast_port": "z"}).settings == DEFAULTS


# --- what can be asked for


@given(picks=SOME, rate=st.none() | st.floats(0, exclude_min=True, allow_infinity=False, max_value=1e9))
def test_what_is_printed_can_be_read_back(
    picks: dict[str, Any], rate: float | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """--print-config's output, given to --config, makes the same settings."""
    settings = Settings(**(picks | {"rate": rate}))
    path = tmp_path_factory.getbasetemp() / "printed.toml"
    path.write_text(format_config(Loaded(settings, dict.fromkeys(NAMES, "default"))))
    again = load(["--config", str(path)], {})
    shown = {} if settings.max_memory else {"max_memory": default_max_memory()}
    assert again.settings == settings.model_copy(update=shown)
    assert set(again.origins.values()) == {f"file {path}"}


def test_print_config_says_where_each_value_came_from(sources: Sources) -> None:
    """Every setting has a line, in the order of the declaration, with its origin as a comment."""
    sources.put("file", {"store": "memory:", "rate": 2.5})
    sources.put("environment", {"log_level": "debug"})
    sources.put("flag", {"port": 0})
    loaded = load([*sources.argv, "--print-config"], sources.environ)
    assert loaded.print_config
    assert not sources.load().print_config
    lines = format_config(loaded).splitlines()
    assert [line.split(" = ")[0] for line in lines] == NAMES
    assert 'host = "127.0.0.1"  # default' in lines
    assert "port = 0  # flag --port" in lines
    assert 'log_level = "debug"  # environment BCAST_LOG_LEVEL' in lines
    assert f"rate = 2.5  # file {sources.path}" in lines
    half = f"max_memory = {default_max_memory()}  # default, half of what the machine or the cgroup has"
    assert half in lines
    assert 'rate = "off"  # default' in format_config(load([], {})).splitlines()


def test_print_config_stays_one_line_for_each_setting(tmp_path: Path) -> None:
    """A file name with a line break in it cannot break out of its comment."""
    path = tmp_path / "a\nport = 1"
    path.write_text("port = 7\n")
    assert tomllib.loads(format_config(load([f"--config={path}"], {})))["port"] == 7


def test_secrets_are_hidden() -> None:
    """A setting of type SecretStr is never printed."""

    class WithSecret(Settings):
        token: SecretStr = SecretStr("hunter2")

    loaded = Loaded(WithSecret(), dict.fromkeys([*NAMES, "token"], "default"))
    assert 'token = "********"  # default' in format_config(loaded).splitlines()
    assert "hunter2" not in format_config(loaded)


@pytest.mark.parametrize("value", ['a"b', "a\\b", "a\tb\nc", "\x7f\x9b", "año 😀", "#"])
def test_any_text_is_printed_as_toml(value: str) -> None:
    """Whatever a later setting may hold, it is one line of TOML that means the same."""

    class WithText(Settings):
        text: str = value

    printed = format_config(Loaded(WithText(), dict.fromkeys([*NAMES, "text"], "default")))
    assert tomllib.loads(printed)["text"] == value
    assert printed.count("\n") == len(NAMES) + 1


def test_help_tells_each_setting(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """--help has flag, unit or choice, meaning and default of every setting in order, and the two naming rules."""
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as caught:
        load(["--help"], {})
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "BCAST_DRAIN_S=10" in text
    assert "drain_s = 10" in text
    rest = text.partition("options:")[2]
    for name in NAMES:
        field = Settings.model_fields[name]
        units = [kind.unit for kind in field.metadata if isinstance(kind, Accepts)]
        takes = units[0] if units else ",".join(get_args(field.annotation))
        default = "off" if field.default in (None, ()) else 0 if field.default is False else field.default
        takes = f"{{{takes}}}" if "," in takes else f"[{takes}]" if field.default is False else takes
        line = f" {flag(name)} {takes} {field.description} (default: {default})"
        assert line in rest
        rest = rest.partition(line)[2]
    assert "--config FILE" in rest


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the package's version and ends well."""
    with pytest.raises(SystemExit) as caught:
        load(["--version"], {})
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"bcast_grpc {__version__}\n"


def test_faults_print_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """What to do about a fault is the caller's choice: nothing is printed."""
    faults_of("--prot", "--port")
    faults_of("--prot=1", "--port=x")
    assert capsys.readouterr() == ("", "")


def test_the_package_does_not_import_settings() -> None:
    """A client does not pay for pydantic."""
    code = "import bcast_grpc, sys; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
