"""Origins of web pages: whatever a person writes, it is compared as a browser sends it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.origins import parse_host, parse_origin


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://chat.example.org", "https://chat.example.org"),
        ("https://Chat.Example.org", "https://chat.example.org"),
        ("HTTPS://chat.example.org:443", "https://chat.example.org"),
        ("http://chat.example.org:080", "http://chat.example.org"),
        ("http://chat.example.org:443", "http://chat.example.org:443"),
        ("https://chat.example.org:8443", "https://chat.example.org:8443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://BÜCHER.example", "https://xn--bcher-kva.example"),
        ("https://straße.example", "https://xn--strae-oqa.example"),
        ("https://例え.テスト", "https://xn--r8jz45g.xn--zckzah"),
        ("http://[0:0:0:0:0:0:0:1]:8080", "http://[::1]:8080"),
        ("http://[2001:DB8::A]:80", "http://[2001:db8::a]"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://chat_1.example.org.", "https://chat_1.example.org."),
        ("capacitor://localhost", "capacitor://localhost"),
        ("ionic://localhost", "ionic://localhost"),
        ("tauri://localhost", "tauri://localhost"),
        ("app://.", "app://."),
        ("vscode-webview://0A1b:80", "vscode-webview://0a1b:80"),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
        ("moz-extension://2c127fa4-62c7-7e4f", "moz-extension://2c127fa4-62c7-7e4f"),
    ],
)
def test_an_origin_has_one_form(written: str, sent: str) -> None:
    """Scheme and host in small letters, ASCII, no default port; and that form is read as the same again."""
    assert str(parse_origin(written)) == sent
    assert parse_origin(written) == parse_origin(sent)


@pytest.mark.parametrize(
    "written",
    [
        *(
            "",
            "null",
            "chat.example",
            "chat.example:443",
            "//chat.example",
            "https:chat.example",
            "https://",
            "https:///",
        ),
        *("https://a/", "https://a/b", "https://a?b", "https://a#b", "https://u@a", "https://a:b@c", "https://*.a"),
        *("https://a:", "https://a:x", "https://a:65536", "https://a:-1", "https://a:٣", "https://a b", " https://a"),
        *("http://[", "http://[::1", "http://[::1]x", "http://::1", "http://[fe80::1%25eth0]", "http://[1.2.3.4]"),
        *("http://a..b", "http://.a", "http://256.0.0.1", "http://1.2.3", "http://a%41", "http://a\\b", "http://a^b"),
        *("http://\ud800", "http://ñ\udcf1", "http://a\u202eb", "capacitor://", "capacitor://ñ", "1a://b", "é://b"),
        *("file://", "file:///a", "data:text/html", "ftp://a", "ws://a", "wss://a", "blob:https://a", "javascript://a"),
        *("https://" + "a" * 600, "https://" + "ñ" * 600),
    ],
)
def test_what_is_no_origin(written: str) -> None:
    """Nor one that tells anything: pages of files and data all have the origin ``null``."""
    with pytest.raises(ValueError, match=r"\w"):
        parse_origin(written)


@pytest.mark.parametrize(
    ("host", "scheme", "meant"),
    [
        ("Chat.example.org", "https", ("chat.example.org", 443)),
        ("chat.example.org:443", "https", ("chat.example.org", 443)),
        ("chat.example.org", "http", ("chat.example.org", 80)),
        ("[0::1]:8080", "http", ("[::1]", 8080)),
    ],
)
def test_a_host_means_the_default_port(host: str, scheme: str, meant: tuple[str, int]) -> None:
    """Proxies write it or not."""
    assert parse_host(host, scheme) == meant


@given(st.text(max_size=40) | st.from_regex(r"https?://[^/]{0,20}(:[0-9]{0,6})?", fullmatch=True))
def test_any_text_is_read_or_refused(text: str) -> None:
    """With ``ValueError`` and nothing else; what is read is written in ASCII, and read again as the same."""
    try:
        origin = parse_origin(text)
    except ValueError:
        return
    assert str(origin).isascii()
    assert parse_origin(str(origin)) == origin
