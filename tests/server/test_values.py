"""The values that settings take, and those that fit only together."""

from __future__ import annotations

import pytest

from bcast_grpc.server.arguments import format_config, load
from bcast_grpc.settings import Settings, SettingsError

from .sources import (
    Sources,
    faults_of,
    flag,
)


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
