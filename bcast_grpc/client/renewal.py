"""Presents a new token on a running call, before the one that it began with expires."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from itertools import count

from bcast_grpc.client.token import Tokens
from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.events import Error, Event, Request
from bcast_grpc.wire.protobuf import encode_request

_FIRST_PAUSE_S = 1.0
_MAX_PAUSE_S = 10.0
"""The longest pause between two attempts. Servers ban addresses that present ten wrong tokens in a minute."""

Report = Callable[[CallError], None]


class Renewal:
    """The renewals of one chat, over all of its calls.

    A request ``auth`` is not kept with the unanswered ones: it would be written again in the next call, too late.
    """

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._prefix = secrets.token_urlsafe(6)
        self._numbers = count(1)
        self._due = asyncio.Event()
        self._frame = b""
        self._id = ""
        self._answer: asyncio.Future[Event] | None = None

    # --- for the dispatcher

    def expiring(self) -> None:
        """Note that the token expires soon."""
        self._due.set()

    def resolve(self, event: Event) -> bool:
        """Take the answer to a renewal; False if the event is something else."""
        if event.id != self._id or not self._answer:
            return False
        if not self._answer.done():
            self._answer.set_result(event)
        return True

    # --- for the call

    def take(self) -> bytes:
        """Take the frame to write next; empty if there is none."""
        frame, self._frame = self._frame, b""
        return frame

    def begin(self) -> None:
        """Begin a call."""
        self._due.clear()
        self._frame = b""
        self._answer = None

    async def keep(self, wake: Callable[[], None], report: Report) -> None:
        """Renew whenever it is time, until this is cancelled with its call.

        Args:
            wake: wakes the writer.
            report: called with what went wrong, once for each token.
        """
        while self._tokens.renewable:
            await asyncio.sleep(_FIRST_PAUSE_S)  # some tokens are always about to expire
            await self._due.wait()
            self._due.clear()
            await self._renew(wake, report)

    async def _renew(self, wake: Callable[[], None], report: Report) -> None:
        pause_s, reported = _FIRST_PAUSE_S, False
        while True:
            try:
                if token := await self._tokens.fetch_new():
                    await self._present(token, wake)
                    return
            except CallError as error:
                if not reported:
                    reported = True
                    report(error)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _MAX_PAUSE_S)

    async def _present(self, token: str, wake: Callable[[], None]) -> None:
        self._id = f"{self._prefix}.{next(self._numbers)}"
        self._answer = asyncio.get_running_loop().create_future()
        self._frame = encode_request(Request("auth", token, id=self._id))
        wake()
        event = await self._answer
        if isinstance(event.detail, Error):
            raise CallError(event.detail.code, event.detail.reason)
        self._tokens.renewed()


def failed(error: CallError) -> tuple[str, Error]:
    """Say that a renewal failed, as the text and the detail of an event."""
    text = f"the token could not be renewed: {error.reason}"
    return text, Error(error.code or ErrorCode.UNAUTHENTICATED, text, retryable=True)
