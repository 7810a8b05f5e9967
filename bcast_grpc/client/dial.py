"""How a call is made: to which address, over which channel, with which metadata."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

import grpc

from bcast_grpc import __version__
from bcast_grpc.client.tls import Tls
from bcast_grpc.client.token import Tokens, check_token
from bcast_grpc.events import ResumePoint
from bcast_grpc.wire.protobuf import MAX_BATCH_BYTES, MAX_REQUEST_BYTES

_DEFAULT_PORT = 50051
DEFAULT_TARGET = f"127.0.0.1:{_DEFAULT_PORT}"

_CONNECT = "/bcast_grpc.v1.Chat/Connect"

_HOST_PORT = re.compile(r"(?P<scheme>grpcs?://)?(?P<host>\[[^\]\s]+\]|[^\s:/\[\]]+)(?::(?P<port>\d{1,5}))?")
_GRPC_NAME = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds):.+")

_READABLE = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")

_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.primary_user_agent", f"bcast_grpc-python/{__version__}"),
    # A message may be as large as a request; what is added to it (its author, its place) fits into the rest.
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES + MAX_BATCH_BYTES),
    # Any byte shows that the server is alive. When none has come for 10 s it is pinged, and when the ping is not
    # answered within 20 s the connection is given up. So a server that froze is noticed after 30 s. A line that is
    # merely slow is not cut: while data flows there are no pings, whose answers would wait behind the data. For that
    # the window must be fixed, because gRPC measures a line with pings. The ping timeout decides: gRPC never starts the
    # clock of the keepalive timeout, but passes it to TCP (TCP_USER_TIMEOUT). Unless `max_pings_without_data` is 0,
    # gRPC stops pinging in a silent room.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 60_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1024 * 1024),
    # Each chat has its own connection. On a shared one, an attempt to connect would only repeat the last failure while
    # another chat waits before its next attempt.
    ("grpc.use_local_subchannel_pool", 1),
    # gRPC must not retry the call by itself: it would not know where to resume.
    ("grpc.enable_retries", 0),
)


def check_target(target: str) -> str:
    """Return the address in the form that gRPC accepts.

    gRPC itself would use port 443 if none is given, and would take a port that is too large modulo 65536.

    Raises:
        ValueError: it is not an address.
    """
    if _GRPC_NAME.fullmatch(target) and not _HOST_PORT.fullmatch(target):
        return target
    found = _HOST_PORT.fullmatch(target)
    port = int(found["port"] or _DEFAULT_PORT) if found else 0
    if not found or not 0 < port < 65536:
        raise ValueError(f"target: {target!r} is not an address; it must be HOST:PORT, such as {DEFAULT_TARGET}")
    return f"{_dotted(found['host'])}:{port}"


def wants_tls(target: str) -> bool:
    """Whether a target, as it was given, asks for TLS."""
    return target.startswith("grpcs://")


def _dotted(host: str) -> str:
    """Write an address such as 127.1 in full: other programs accept it, gRPC does not."""
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return host


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialer:
    """What all calls of a chat have in common; ``connect()`` says what each argument means."""

    target: str
    credentials: grpc.ChannelCredentials | None
    tls: Tls | None
    room: str
    client: str
    events: str
    echo: bool
    tokens: Tokens
    history: int
    timeout_s: float

    def metadata(self, name: str, after: ResumePoint | None, token: str = "") -> tuple[tuple[str, str], ...]:
        """The metadata of the next call: who we are, and where to resume. Only the first call asks for history.

        Raises:
            ValueError: a text cannot be encoded as UTF-8, or the token cannot be sent.
        """
        return call_metadata(
            name=name,
            room=self.room,
            client=self.client,
            events=with_words(self.events, "welcome", *(["expiring"] if self.tokens.renewable else [])),
            echo=self.echo,
            token=token,
            after=after,
            history=0 if after else self.history,
        )

    def check(self, name: str) -> None:
        """Check what can be checked without a server.

        Raises:
            ValueError: an argument is wrong.
        """
        self.metadata(name, None)
        if self.tls:
            self.tls.check()

    def open_channel(self) -> grpc.aio.Channel:
        """Make a channel; it sends nothing yet.

        Raises:
            OSError: a file for TLS cannot be read or used.
        """
        credentials = self.credentials or (self.tls.credentials() if self.tls else None)
        return open_channel(self.target, credentials)

    @property
    def wants_welcome(self) -> bool:
        """Whether the application asked for ``WELCOME``; the library always does."""
        return with_words(self.events, "welcome") == self.events

    @property
    def wants_expiring(self) -> bool:
        """Whether the application asked for ``EXPIRING``; the library does if it can renew the token."""
        return with_words(self.events, "expiring") == self.events


def with_words(events: str, *needed: str) -> str:
    """Ask for more notices than the application: ``WELCOME`` says where we are before the first message."""
    words = [word.strip() for word in events.split(",")]
    if words == ["all"]:
        return events
    missing = [word for word in needed if word not in words]
    asked = [] if words in (["none"], [""]) else [events]
    return ",".join([*asked, *missing]) if missing else events


def call_metadata(
    *,
    name: str,
    room: str,
    client: str,
    events: str | Iterable[str] | None,
    echo: bool,
    token: str,
    after: ResumePoint | None = None,
    history: int = 0,
) -> tuple[tuple[str, str], ...]:
    """Write who we are and what we want as the contract's metadata; empty values are left out.

    Raises:
        ValueError: a text cannot be encoded as UTF-8, or the token cannot be sent.
    """
    check_token(token)
    pairs = [("bcast-batch", "1")]
    for key, value in (("bcast-name", name), ("bcast-room", room), ("bcast-client", client)):
        if value:
            pairs.append((key, _percent_encode(value)))
    if events is not None:
        words = events if isinstance(events, str) else ",".join(events)
        pairs.append(("bcast-events", _percent_encode(words or "none")))
    if echo:
        pairs.append(("bcast-echo", "1"))
    if after:
        pairs.append(("bcast-after", f"{_percent_encode(after.epoch)}:{after.seq}"))
    if history:
        pairs.append(("bcast-history", str(history)))
    if token:
        pairs.append(("authorization", f"Bearer {token}"))
    return tuple(pairs)


def _percent_encode(text: str) -> str:
    return quote(text, safe=_READABLE)


def open_channel(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    """Make a channel to ``target``; it sends nothing yet."""
    options = list(_OPTIONS)
    if is_local(target):
        # gRPC would send even this through the proxy that http_proxy names, where it is another machine's loopback.
        options.append(("grpc.enable_http_proxy", 0))
    if credentials is None:
        return grpc.aio.insecure_channel(target, options)
    return grpc.aio.secure_channel(target, credentials, options)


def start_call(
    channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]
) -> grpc.aio.StreamStreamCall[bytes, bytes]:
    """Call ``Connect``. Frames are bytes, because a chat encodes and decodes them itself."""
    connect: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(_CONNECT)
    return connect(metadata=metadata)


def is_local(target: str) -> bool:
    """Whether a target (from ``check_target``) is on this machine, however it is spelled."""
    scheme, _, rest = target.partition(":")
    if _HOST_PORT.fullmatch(target):
        return _is_loopback(target)
    if scheme in ("unix", "unix-abstract", "vsock"):
        return True
    return all(_is_loopback(address) for address in rest.rpartition("/")[2].split(","))


def _is_loopback(address: str) -> bool:
    found = _HOST_PORT.fullmatch(address)
    host = found["host"].strip("[]").partition("%")[0].rstrip(".").lower() if found else ""
    if host in ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback") or host.endswith(".localhost"):
        return True
    try:
        ip = ipaddress.ip_address(host if ":" in host else socket.inet_aton(host))  # that also takes 127.1
    except (OSError, ValueError):
        return False
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.is_loopback or ip.is_unspecified
