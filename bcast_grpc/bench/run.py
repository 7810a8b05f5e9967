"""The bench from its options to its exit code."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import time

from bcast_grpc.bench.arguments import PROGRAM, Options
from bcast_grpc.bench.plan import Plan
from bcast_grpc.bench.progress import Progress
from bcast_grpc.bench.report import Outcome, as_json, as_text, remarks
from bcast_grpc.bench.workers import CannotWork, Interrupted
from bcast_grpc.bench.workers import run as run_workers
from bcast_grpc.console.exits import EXIT_INTERRUPTED, EXIT_NOT_ALL, EXIT_PIPE, complain, exit_code
from bcast_grpc.errors import BcastError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SAME_S = 1.0
"""Signals within this time of the first count as one: a terminal and a supervisor may send one each."""


def run(options: Options) -> int:
    """Put the load on the server, and print what was measured.

    Returns:
        The exit code.
    """
    progress = Progress(options, sys.stderr)
    ending = Ending()
    try:
        outcome = asyncio.run(_run(Plan(options, secrets.randbits(32)), progress, ending))
    except Interrupted:
        return ending.exit_code
    except BcastError as error:
        complain(PROGRAM, str(error))
        return exit_code(error)
    except CannotWork as error:
        complain(PROGRAM, str(error))
        return EXIT_NOT_ALL
    try:
        _print(outcome)
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # else Python would fail to flush the rest at its exit
        return EXIT_PIPE
    return ending.exit_code if outcome.interrupted else outcome.exit_code


class Ending:
    """The signal that ends the load: messages in flight are awaited, unless a second signal comes."""

    def __init__(self) -> None:
        self.exit_code = EXIT_INTERRUPTED
        self.asked = asyncio.Event()
        self._first = 0.0

    def on_signal(self, number: signal.Signals) -> None:
        """Note a signal."""
        now = time.monotonic()
        if self.asked.is_set():
            if now - self._first > _SAME_S:
                os._exit(self.exit_code)  # the workers notice that, and end too
            return
        self._first = now
        self.exit_code = 128 + number
        self.asked.set()


async def _run(plan: Plan, progress: Progress, ending: Ending) -> Outcome:
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN and number is signal.SIGHUP:
            continue  # as under nohup
        loop.add_signal_handler(number, ending.on_signal, number)
    try:
        return await run_workers(plan, ending.asked, progress.show)
    finally:
        progress.clear()


def _print(outcome: Outcome) -> None:
    if outcome.plan.options.json:
        _say(json.dumps(as_json(outcome)))
    else:
        _say(as_text(outcome))
    for remark in remarks(outcome):
        complain(PROGRAM, remark)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201
