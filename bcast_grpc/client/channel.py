"""Channels of gRPC, counted, because a process cannot be forked while there is one."""

from __future__ import annotations

import grpc

from bcast_grpc import __version__
from bcast_grpc.client import fork
from bcast_grpc.client.address import Address, is_local
from bcast_grpc.client.endings import lost
from bcast_grpc.client.tls import Tls
from bcast_grpc.wire.protobuf import MAX_BATCH_BYTES, MAX_REQUEST_BYTES

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


def open_channel(
    address: Address, tls: Tls | None = None, credentials: grpc.ChannelCredentials | None = None
) -> grpc.aio.Channel:
    """Make a channel to a server; it sends nothing yet. Close it with ``close_channel``.

    Args:
        address: the server.
        tls: TLS, unless ``credentials`` are given.
        credentials: gRPC's own.

    Raises:
        ConnectionLost: a file for TLS cannot be read or used.
    """
    fork.opened()
    try:
        credentials = credentials or (tls.credentials() if tls else None)
        if credentials is None:
            return grpc.aio.insecure_channel(address.target, _options(address))
        return grpc.aio.secure_channel(address.target, credentials, _options(address))
    except OSError as error:
        fork.closed()
        raise lost(str(address), str(error), connected=False) from None
    except BaseException:
        fork.closed()
        raise


async def close_channel(channel: grpc.aio.Channel) -> None:
    """Close a channel at once."""
    try:
        await channel.close()
    finally:
        fork.closed()


def _options(address: Address) -> list[tuple[str, int | str]]:
    options = list(_OPTIONS)
    if address.name:  # which the server's certificate must be for
        options.append(("grpc.default_authority", address.name))
    if is_local(address.target):
        # gRPC would send even this through the proxy that http_proxy names, where it is another machine's loopback.
        options.append(("grpc.enable_http_proxy", 0))
    return options
