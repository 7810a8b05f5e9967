"""What one client sends: frame after frame, with as many unacknowledged as its window allows."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

from bcast_grpc.bench.payload import Frames
from bcast_grpc.bench.plan import Plan, Schedule
from bcast_grpc.bench.verify import Due
from bcast_grpc.errors import ErrorCode
from bcast_grpc.v1 import chat_pb2 as pb

_NS = 1_000_000_000
_CODES: dict[int, str] = {code.value: code.name for code in ErrorCode}


class Sender:
    """Sends the messages of one client, and counts their answers.

    Attributes:
        sent: how many messages were written.
        refused: how many messages the server refused, by error code.
        reasons: the reason that the server gave, by error code.
    """

    def __init__(self, plan: Plan, number: int) -> None:
        self.sent = 0
        self.refused: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}
        self._plan = plan
        self._number = number
        self._frames = Frames(plan.run, number, plan.options.size)
        self._unanswered: dict[str, range] = {}
        self._answered = 0
        self._held_until_ns = 0
        self._over = False
        self._ended = False
        self._changed = asyncio.Event()

    @property
    def acknowledged(self) -> int:
        """How many messages the server has acknowledged."""
        return max(self._answered - self.refused.total(), 0)

    @property
    def unanswered(self) -> int:
        """How many messages the server has not answered."""
        return self.sent - self._answered

    @property
    def finished(self) -> bool:
        """Whether there is no answer left to wait for."""
        return self._ended or not self._unanswered

    @property
    def due(self) -> Due:
        """What the others must receive. If the call has ended, the last messages may have been lost with it."""
        unanswered = next(iter(self._unanswered.values()), range(self.sent, self.sent))
        return Due(unanswered.start if self._ended else self.sent, self.refused.total())

    async def send(self, write: Callable[[bytes], Awaitable[None]], start_ns: int, stop_ns: int) -> None:
        """Send until ``stop_ns``, or ``stop()``."""
        schedule = Schedule.of(self._plan.options, self._number, start_ns)
        batch, window = self._plan.batch, self._plan.window
        while not self._over and (now_ns := time.monotonic_ns()) < stop_ns:
            if len(self._unanswered) >= window:
                await self._change(stop_ns)
            elif self._held_until_ns > now_ns:
                await self._change(min(self._held_until_ns, stop_ns))
            elif times_ns := schedule.due(self.sent, batch, now_ns):
                await write(self._frame(times_ns))
            else:
                await self._change(min(schedule.time_ns(self.sent), stop_ns))

    def hear(self, answer: pb.ConnectResponse) -> None:
        """Count an ack or an error."""
        if answer.kind == pb.EVENT_KIND_ERROR:
            code = _CODES.get(answer.error.code, "UNSPECIFIED")  # a newer server may have others
            self.refused[code] += 1
            self.reasons.setdefault(code, answer.error.reason)
            wait_ns = answer.error.retry_after.ToNanoseconds()
            self._held_until_ns = max(self._held_until_ns, time.monotonic_ns() + wait_ns)
        elif answer.kind != pb.EVENT_KIND_ACK:
            return
        self._answered += len(self._unanswered.pop(answer.id, ()))
        self._changed.set()

    def stop(self) -> None:
        """Stop sending."""
        self._over = True
        self._changed.set()

    def end(self) -> None:
        """Note that the call has ended."""
        self._ended = True
        self.stop()

    def _frame(self, times_ns: list[int]) -> bytes:
        first, self.sent = self.sent, self.sent + len(times_ns)
        self._unanswered[str(self.sent - 1)] = range(first, self.sent)
        return self._frames.frame(first, times_ns)

    async def _change(self, until_ns: int) -> None:
        """Wait until something has changed, or until ``until_ns``."""
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout((until_ns - time.monotonic_ns()) / _NS):
                await self._changed.wait()
