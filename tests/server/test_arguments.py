"""The settings: where they may come from, which of them wins, and what is said about those that do not fit."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from bcast_grpc import __version__
from bcast_grpc.errors import BcastError
from bcast_grpc.server.arguments import Loaded, format_config, load
from bcast_grpc.server.machine import default_max_memory
from bcast_grpc.settings import Accepts, Settings, SettingsError

NAMES = list(Settings.model_fields)
DEFAULTS = Settings()
SOURCES = ["flag", "environment", "file"]
EACH = list(product(NAMES, SOURCES))
KEYS = {"token_keys": ("keys.json",)}
NEEDS: dict[str, dict[str, Any]] = {
    "burst": {"rate": 1},
    "tls_cert": {"tls_key": "key.pem"},
    "tls_key": {"tls_cert": "cert.pem"},
    "tls_client_ca": {"tls_cert": "cert.pem", "tls_key": "key.pem"},
    "token_issuer": KEYS,
    "token_audience": KEYS,
}
"""What must be set for a setting to fit."""

FITTING = {
    "host": "localhost",
    "store": "sqlite:store",
    "http_allow_origin": ("https://chat.example", "http://b.example:8080"),
    "token_keys": ("keys/public.pem", "https://id.example/jwks.json"),
    "token_issuer": "https://id.example",
    "token_audience": "chat",
    "rights": Path("rights.toml"),
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
    if name.startswith("tls_"):
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


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """Three sources with nothing in them."""
    return Sources(tmp_path / "bcast.toml")


def faults_of(*argv: str, **environ: str) -> list[str]:
    """What is said about it, a line for each fault, and in our own words."""
    with pytest.raises(SettingsError) as caught:
        load(argv, environ)
    said = str(caught.value)
    assert not any(word in said for word in ("pydantic", "https://err", "Input should", "validation", "error parsing"))
    assert said.splitlines() == list(caught.value.faults)
    return said.splitlines()


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


# --- what fits


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "::1", "fe80::1%eth0", "::ffff:1.2.3.4", "localhost", "a-b.example.org.", "my_box"]
)
def test_host_takes_addresses_and_names(host: str) -> None:
    """IPv4, IPv6 and names are hosts."""
    assert Settings(host=host).host == host


@pytest.mark.parametrize(
    "host", ["", " ", "a b", "[::1]", "1.2.3", "1.2.3.4.5", "256.1.1.1", "localhost:1", "::g", "a..b", "é", "a\n"]
)
def test_host_takes_nothing_else(host: str) -> None:
    """What can be neither an address nor a name is refused at once, not by the resolver later."""
    with pytest.raises(SettingsError, match="must be an IP address"):
        Settings(host=host)


@pytest.mark.parametrize("name", ["keepalive_s", "progress_s", "drain_s", "rate"])
@pytest.mark.parametrize("value", ["inf", "nan", "-1", "1e400", "soon", "1,5"])
def test_times_and_rates_are_positive_and_finite(name: str, value: str) -> None:
    """No setting that is a time or a rate takes infinity, NaN, a negative or a word."""
    (fault,) = faults_of(flag(name), value)
    assert fault.startswith(f"{flag(name)} {value}: must be ")


def test_only_drain_may_take_no_time() -> None:
    """0 seconds of drain is a choice; 0 between pings or progress events is not."""
    assert load(["--drain-s", "0"], {}).settings.drain_s == 0
    assert len(faults_of("--keepalive-s=0", "--progress-s=0", "--rate=0")) == 3


@pytest.mark.parametrize("name", ["max_clients", "queue_messages", "queue_bytes", "max_message_bytes", "burst"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "0x10", "5e3", "many"])
def test_counts_are_whole_and_at_least_one(name: str, value: str) -> None:
    """Counts and sizes take digits, and not none."""
    (fault,) = faults_of(flag(name), value, "--rate=1")
    assert fault.startswith(f"{flag(name)} {value}: must be a whole number")


def test_a_truth_is_no_number(sources: Sources) -> None:
    """``port = true`` is not port 1."""
    sources.path.write_text("port = true\nrate = true\n")
    assert [fault.partition(" in ")[0] for fault in faults_of(*sources.argv)] == ["port = true", "rate = true"]


def test_a_message_fits_into_a_request() -> None:
    """max-message-bytes goes up to a gRPC request less what comes along, and no further."""
    most = 4 * 1024 * 1024 - 64 * 1024
    assert Settings(max_message_bytes=most).max_message_bytes == most
    words = f"must be a whole number of bytes from 1 to {most} (4 MiB of a gRPC request less 64 KiB)"
    assert faults_of(f"--max-message-bytes={most + 1}") == [f"--max-message-bytes {most + 1}: {words}"]


def test_a_queue_holds_a_message() -> None:
    """queue-bytes is at least one message and what is around it."""
    assert Settings(max_message_bytes=1000, queue_bytes=5096).queue_bytes == 5096
    assert faults_of("--queue-bytes=5095", BCAST_MAX_MESSAGE_BYTES="1000") == [
        "--queue-bytes 5095: must be at least max-message-bytes + 4096 = 5096: a queue must hold one message"
    ]


@pytest.mark.parametrize(("rate", "burst"), [(0.1, 1), (1, 1), (2.5, 3), (100, 100)])
def test_burst_follows_the_rate(rate: float, burst: int) -> None:
    """With a rate alone, one second's worth may come at once, and never less than one message."""
    assert Settings(rate=rate).burst == burst
    assert load(["--burst", "off", "--rate", str(rate)], {}).settings.burst == burst
    assert Settings(rate=rate, burst=7).burst == 7


def test_origins_may_be_given_several_times() -> None:
    """As flags, or with commas between them; each is what a browser sends, and nothing else is taken."""
    one, two = "https://chat.example", "http://b.example:8080"
    flags = ["--http-allow-origin", one, "--http-allow-origin", two]
    assert load(flags, {}).settings.http_allow_origin == (one, two)
    assert load([], {"BCAST_HTTP_ALLOW_ORIGIN": f"{one}, {two}"}).settings.http_allow_origin == (one, two)
    assert Settings(http_allow_origin=["*"]).http_allow_origin == ("*",)


def test_origins_are_kept_as_browsers_send_them() -> None:
    """Capital letters, default ports and other scripts would match nothing; apps have schemes of their own."""
    written = "https://Chat.Example.org:443, https://bücher.example, capacitor://localhost"
    loaded = load(["--http-allow-origin", written], {})
    kept = ("https://chat.example.org", "https://xn--bcher-kva.example", "capacitor://localhost")
    assert loaded.settings.http_allow_origin == kept
    assert f"http_allow_origin = {list(kept)}".replace("'", '"') in format_config(loaded)


@pytest.mark.parametrize(
    "origin", ["chat.example", "https://chat.example/", "https://", "ftp://a", "https://*.example", "null"]
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    """It would match nothing that a browser sends, and nobody would know why."""
    takes = "must be origins such as https://chat.example.org, separated by commas, or * for all"
    assert faults_of("--http-allow-origin", origin) == [f"--http-allow-origin {origin}: {takes}"]


def test_open_and_tokens_exclude_each_other(sources: Sources) -> None:
    """One says that anyone may come, the other that not everybody may."""
    sources.put("flag", {"token_keys": ("keys.json",), "open": True})
    with pytest.raises(SettingsError) as caught:
        sources.load()
    assert caught.value.faults == ("--open 1: must be 0 if token-keys is set: use one of the two",)


def test_a_switch_needs_no_value() -> None:
    """``--open`` alone is enough; elsewhere it is 1 or 0."""
    assert load(["--open"], {}).settings.open
    assert load(["--open", "--port", "0"], {"BCAST_PLAINTEXT": "1"}).settings.plaintext
    assert not load(["--open", "0"], {}).settings.open
    assert faults_of("--open", "yes") == ["--open yes: must be 1 or 0"]


def test_the_issuer_of_tokens_needs_keys() -> None:
    """Without them no token is looked at."""
    assert faults_of("--token-issuer", "x") == ["--token-issuer x: must be off unless token-keys is set"]
    takes = "files (PEM, JWKS or a secret) or https:// URLs of a JWKS, separated by commas"
    assert faults_of("--token-keys", "http://id.example/jwks") == [
        f"--token-keys http://id.example/jwks: must be {takes}"
    ]


def test_the_url_of_keys_has_no_secret() -> None:
    """The log and ``--print-config`` name it."""
    (fault,) = faults_of("--token-keys", "https://me:password@id.example/jwks")
    assert "must be a URL without a user and a password" in fault


def test_burst_needs_a_rate(sources: Sources) -> None:
    """A burst of nothing means nothing, so it is refused; rate off in a nearer source counts."""
    assert faults_of("--burst", "5") == ["--burst 5: must be off while rate is off"]
    sources.put("file", {"rate": 5, "burst": 5})
    assert faults_of(*sources.argv, "--rate=off") == [f"burst = 5 in {sources.path}: must be off while rate is off"]


def test_a_certificate_needs_its_key() -> None:
    """Each of the two alone is refused, and so is what needs both."""
    assert faults_of("--tls-cert", "c.pem") == [
        "tls_key=None: must be the path of the PEM file with the key of tls-cert"
    ]
    assert faults_of("--tls-key", "k.pem") == ["--tls-key k.pem: must be off unless tls-cert is set"]
    assert faults_of("--tls-client-ca", "ca.pem") == ["--tls-client-ca ca.pem: must be off unless tls-cert is set"]


def test_a_rate_that_does_not_fit_is_one_fault() -> None:
    """What hangs on a bad value is not reported as well."""
    assert len(faults_of("--rate=x", "--burst=5")) == 1
    assert len(faults_of("--max-message-bytes=x", "--queue-bytes=1")) == 1


# --- what is said about what does not fit


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--port", "99999"], "--port 99999: must be a whole number from 0 to 65535 (0 picks a free port)"),
        (["--port"], "--port: needs a value: a whole number from 0 to 65535 (0 picks a free port)"),
        (["--log-level=loud"], "--log-level loud: must be debug, info, warning or error"),
        (["--slow-policy=forget"], "--slow-policy forget: must be disconnect, drop or catch-up"),
        (["--store", "redis:a"], "--store redis:a: must be memory: or sqlite:PATH"),
        (["--store", "sqlite:"], "--store sqlite:: must be memory: or sqlite:PATH"),
        (["--keepalive-s=off"], "--keepalive-s off: must be a number of seconds above 0, at most 2147483"),
        (["--host", "a b"], "--host 'a b': must be an IP address (no brackets) or a host name"),
        (["--host=\x1b[2J"], r"--host '\x1b[2J': must be an IP address (no brackets) or a host name"),
        (["--prot", "1"], "--prot: no such setting; did you mean --port?"),
        (["--prot=1"], "--prot: no such setting; did you mean --port?"),
        (["--por=1"], "--por: no such setting; did you mean --port?"),
        (["--log_level=info"], "--log_level: no such setting; did you mean --log-level?"),
        (["--printconfig"], "--printconfig: no such setting; did you mean --print-config?"),
        (["--metrics-port=80"], "--metrics-port: no such setting; did you mean --tcp-port?"),
        (["--http-port=-1"], "--http-port -1: must be a whole number from 0 to 65535 (0 picks a free port), or off"),
        (["-x"], "-x: no such setting"),
        (["50051"], "50051: is not a flag; settings are given as flags, such as --port 50051"),
        (["--config"], "--config: expected one argument"),
        (["--print-config=1"], "--print-config: ignored explicit argument '1'"),
        (["--config="], "--config '': cannot read this TOML file: no such file"),
        (["--config=/nowhere/x"], "--config /nowhere/x: cannot read this TOML file: no such file"),
        (["--config=/"], "--config /: cannot read this TOML file: no such file"),
    ],
)
def test_flag_faults(argv: list[str], said: str) -> None:
    """A fault on the command line names the flag, the value, and what the flag takes."""
    fault, *rest = faults_of(*argv)
    assert not rest
    assert fault == said


@pytest.mark.parametrize(
    ("store", "right"),
    [
        (":memory:", "memory: to keep messages in memory, or sqlite:./:memory: for a file of that name"),
        ("memory:", "memory: to keep messages in memory, or sqlite:./memory: for a file of that name"),
        (
            "file:x?mode=memory",
            "a path, not a URI: sqlite:chat.db, or sqlite:./file:x?mode=memory for a file of that name",
        ),
        ("//chat.db", "a path, not a URL: sqlite:chat.db in this directory, or sqlite:/var/lib/chat.db"),
        ("chat.db?mode=ro", "a path without parameters: sqlite:chat.db"),
        ("~/x", "a full path, since ~ is not expanded: sqlite:/home/…, or sqlite:./~/x for a file of that name"),
        (" x", "a path without blanks around it: sqlite:x"),
        ("a\0b", "a path without control characters"),
        ("data/", "the path of a file, not of a directory: sqlite:data/chat.db"),
        (".", "the path of a file, not of a directory: sqlite:./chat.db"),
    ],
)
def test_stores_that_mean_something_else(store: str, right: str) -> None:
    """A path that SQLite or a shell would read in its own way is refused, with what would be right."""
    assert faults_of(f"--store=sqlite:{store}")[0].endswith(f": must be {right}")


@pytest.mark.parametrize(
    "path", ["chat.db", "/x/chat.db", "./:memory:", "./~/x", "./file:x?mode=ro", "a b", "ñ", "a:b"]
)
def test_stores_that_are_files(path: str) -> None:
    """Any other path is taken as it is."""
    assert load([f"--store=sqlite:{path}"], {}).settings.store == f"sqlite:{path}"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"BCAST_PORT": "x"}, "BCAST_PORT=x: must be a whole number from 0 to 65535 (0 picks a free port)"),
        ({"BCAST_PORT": ""}, "BCAST_PORT='': must be a whole number from 0 to 65535 (0 picks a free port)"),
        ({"BCAST_PROT": "1"}, "BCAST_PROT: no such setting; did you mean BCAST_PORT?"),
        ({"BCAST_port": "1"}, "BCAST_port: no such setting; did you mean BCAST_PORT?"),
        ({"BCAST_CONFG": "x"}, "BCAST_CONFG: no such setting; did you mean BCAST_CONFIG?"),
        ({"BCAST_PRINT_CONFIG": "1"}, "BCAST_PRINT_CONFIG: no such setting; did you mean BCAST_CONFIG?"),
        ({"BCAST_CONFIG": ""}, "BCAST_CONFIG='': cannot read this TOML file: no such file"),
    ],
)
def test_environment_faults(environ: dict[str, str], said: str) -> None:
    """A fault in the environment names the variable."""
    fault, *rest = faults_of(**environ)
    assert not rest
    assert fault == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port = 99999", "port = 99999 in {path}: must be a whole number from 0 to 65535 (0 picks a free port)"),
        ('host = "a b"', 'host = "a b" in {path}: must be an IP address (no brackets) or a host name'),
        ("prot = 1", "prot in {path}: no such setting; did you mean port?"),
        ("Port = 1", "Port in {path}: no such setting; did you mean port?"),
        ("drain-s = 1", "drain-s in {path}: no such setting; did you mean drain_s?"),
        ("[server]\nport = 1", "server in {path}: no such setting"),
        ("port.x = 1", "port = {{'x': 1}} in {path}: must be a whole number from 0 to 65535 (0 picks a free port)"),
        ("a b", "--config {path}: is not TOML: "),
        ('port = "\udcff"', "--config {path}: is not TOML: "),
    ],
)
def test_file_faults(text: str, said: str, sources: Sources) -> None:
    """A fault in the file names the key and the file."""
    sources.path.write_bytes(text.encode(errors="surrogateescape"))
    fault, *rest = faults_of(*sources.argv)
    assert not rest
    expected = said.format(path=sources.path)
    assert fault == expected or (expected.endswith("TOML: ") and fault.startswith(expected))


def test_a_file_that_cannot_be_read_is_a_fault(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's word for why is passed on."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert faults_of(*sources.argv) == [f"--config {sources.path}: cannot read this TOML file: Permission denied"]


def test_all_faults_are_reported_at_once(sources: Sources) -> None:
    """One start is enough to learn everything that is wrong, wherever it is."""
    sources.put("file", {"progress_s": 0, "nonsense": 1})
    faults = faults_of(*sources.argv, "--prot", "1", "stray", "--port=-1", BCAST_MAX_CLIENTS="no", BCAST_X="1")
    assert [fault.split(":")[0] for fault in faults] == [
        "--prot",
        "stray",
        "BCAST_X",
        f"nonsense in {sources.path}",
        "--port -1",
        "BCAST_MAX_CLIENTS=no",
        f"progress_s = 0 in {sources.path}",
    ]


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
