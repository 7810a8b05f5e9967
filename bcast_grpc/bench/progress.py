"""The progress of the bench, on one line of a terminal that is rewritten."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TextIO

from bcast_grpc.bench.arguments import Options
from bcast_grpc.bench.link import Tick

_WIDTH = 20


class Progress:
    """A line on a terminal; nothing if ``stream`` is not a terminal."""

    def __init__(self, options: Options, stream: TextIO) -> None:
        self._options = options
        self._stream = stream
        self._shown = stream.isatty()
        self._began_s = 0.0

    def show(self, ticks: Sequence[Tick]) -> None:
        """Show the progress of all workers."""
        if self._shown:
            self._stream.write(f"\r{self._line(ticks)}\x1b[K")
            self._stream.flush()

    def clear(self) -> None:
        """Clear the line for what follows."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _line(self, ticks: Sequence[Tick]) -> str:
        joined, sent = sum(tick.joined for tick in ticks), sum(tick.sent for tick in ticks)
        delivered = sum(tick.delivered for tick in ticks)
        if joined < self._options.clients or not sent:
            return f"{_bar(joined / self._options.clients)}  {joined} of {self._options.clients} clients are connected"
        now_s = time.monotonic()
        self._began_s = self._began_s or now_s
        passed_s = min(now_s - self._began_s, self._options.duration_s)
        share = passed_s / self._options.duration_s
        return (
            f"{_bar(share)}  {passed_s:.0f} of {self._options.duration_s:g} s, {sent:,} sent, {delivered:,} delivered"
        )


def _bar(share: float) -> str:
    full = round(share * _WIDTH)
    return f"[{'#' * full}{'.' * (_WIDTH - full)}]"
