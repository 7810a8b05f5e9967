"""How a call is made: to which server, with which metadata."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

import grpc

from bcast_grpc.client.address import Address
from bcast_grpc.client.attempt import Attempt
from bcast_grpc.client.channel import open_channel
from bcast_grpc.client.choice import Choice
from bcast_grpc.client.names import candidates
from bcast_grpc.client.tls import Tls
from bcast_grpc.client.token import Tokens, check_token
from bcast_grpc.events import ResumePoint

_CONNECT = "/bcast_grpc.v1.Chat/Connect"

_READABLE = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialer:
    """What all calls of a chat have in common; ``connect()`` says what each argument means."""

    addresses: tuple[Address, ...]
    choice: Choice[Address]
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

    async def attempt(self) -> Attempt:
        """Begin an attempt to connect to one of the servers."""
        addresses = self.choice.order(await candidates(self.addresses))
        return Attempt(addresses, self._open_channel, self.choice.put_last, self.timeout_s)

    def _open_channel(self, address: Address) -> grpc.aio.Channel:
        return open_channel(address, self.tls, self.credentials)

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


def start_call(
    channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]
) -> grpc.aio.StreamStreamCall[bytes, bytes]:
    """Call ``Connect``. Frames are bytes, because a chat encodes and decodes them itself."""
    connect: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(_CONNECT)
    return connect(metadata=metadata)
