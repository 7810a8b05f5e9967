"""How much is under way: seconds' worth on a slow line, no bound that anybody would notice on a fast one."""

from __future__ import annotations

from collections import deque

import pytest

from bcast_grpc.client.window import Window

FRAME = 256 * 1024


class Line:
    """A line of some bytes a second and some delay, and a server that answers a frame when it has all of it."""

    def __init__(self, rate: float, delay_s: float) -> None:
        self.now = 0.0
        self.window = Window(FRAME, lambda: self.now)
        self.frames: deque[tuple[float, int]] = deque()  # when it is answered, and its size
        self.largest_wait_s = 0.0
        self._rate = rate
        self._delay_s = delay_s
        self._free_at = 0.0

    def run(self, seconds: float, request: int) -> int:
        """Send as much as may be, in requests of a size; the bytes that were answered."""
        answered = 0
        while self.now < seconds:
            if allowed := self.window.allowance(request):
                self._send(max(request, allowed - allowed % request))
            else:
                self.now, size = self.frames.popleft()
                self.window.answered(size)
                answered += size
        return answered

    def _send(self, size: int) -> None:
        self._free_at = max(self.now, self._free_at) + size / self._rate
        self.frames.append((self._free_at + self._delay_s, size))
        self.window.wrote(size)
        self.largest_wait_s = max(self.largest_wait_s, self._free_at - self.now)


@pytest.mark.parametrize("rate", [2_000, 8_000, 30_000, 100_000])
@pytest.mark.parametrize("request_bytes", [50, 1_000, 4_000])
def test_a_slow_line_is_not_filled_for_longer_than_a_ping_waits(rate: int, request_bytes: int) -> None:
    """And is used all the time."""
    line = Line(rate, 0.1)
    answered = line.run(300, request_bytes)
    assert line.largest_wait_s < 15
    assert answered > 0.9 * rate * 300


@pytest.mark.parametrize("delay_s", [0.0005, 0.05, 0.3])
def test_a_fast_line_is_used_after_a_few_round_trips(delay_s: float) -> None:
    """With frames as large as they may be."""
    line = Line(10_000_000, delay_s)
    assert line.run(10 + 20 * delay_s, 100) > 0.9 * 10_000_000 * 10
    assert max(size for _, size in line.frames) > FRAME - 100


def test_a_large_request_goes_alone_where_nothing_is_under_way() -> None:
    """It would never find room."""
    window = Window(FRAME)
    assert window.allowance(1 << 22) == 1 << 22
    window.wrote(1 << 22)
    assert window.allowance(1) == 0
    window.begin()
    assert window.allowance(1) > 1000
