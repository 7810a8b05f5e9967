"""The log on stderr, as text for people or as JSON for machines."""

from __future__ import annotations

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType

from bcast_grpc.server.output import LineStream, Output
from bcast_grpc.server.repeats import MOST, Repeats

logger = logging.getLogger(__name__)

_LAST_LINES_S = 1.0
"""How long the end of the process waits for the last lines to be written."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line.

    Args:
        worker: which of several processes this is; 0 for the only one.
    """

    def __init__(self, worker: int = 0) -> None:
        super().__init__()
        self._worker = {"worker": worker} if worker else {}

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            **self._worker,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class OutputHandler(logging.Handler):
    """Formats each record at once, and queues it for an ``Output`` to write.

    Few records a minute of each place in the program, because clients cause some; all of them at level ``debug``.
    """

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.output = Output(sys.stderr, self._missing)
        self._repeats = Repeats()

    def emit(self, record: logging.LogRecord) -> None:
        """Format a record and queue it, unless there were many such lately."""
        if record.levelno <= logging.DEBUG:
            self._put(record)
            return
        said = self._repeats.count((record.pathname, record.lineno))
        if said.missed:
            self.output.put(self._say(logging.WARNING, "%d lines such as the next one were left out", said.missed))
        if said.shown:
            self._put(record)
        if said.last:
            words = "%d lines such as the last one within a minute: further ones are left out until it is over"
            self.output.put(self._say(logging.WARNING, words, MOST))

    def _put(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001  # code that logs must not fail because a record cannot be formatted
            line = self._say(logging.ERROR, "cannot format the log record %r", str(record.msg))
        self.output.put(line)

    def flush(self) -> None:
        """Wait until the lines up to now are written, for at most a second."""
        self.output.flush(_LAST_LINES_S)

    def _missing(self, count: int) -> str:
        return self._say(logging.WARNING, "%d log lines were dropped: nobody read stderr", count)

    def _say(self, level: int, text: str, *values: object) -> str:
        return self.format(logging.LogRecord(__name__, level, __file__, 0, text, values, None))


def set_up(level: str, format_: str, worker: int = 0) -> OutputHandler:
    """Send the log to stderr. Logging never waits for the reader of stderr.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        format_: ``text`` or ``json``.
        worker: which of several processes this is, which each line says; 0 for the only one.
    """
    which = f"worker {worker} " if worker else ""
    text = logging.Formatter(f"%(asctime)s %(levelname)s {which}%(name)s: %(message)s")
    handler = OutputHandler(JsonFormatter(worker) if format_ == "json" else text)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("asyncio", "hpack"):  # hpack would log all header fields, including secrets
        logging.getLogger(chatty).setLevel("WARNING")
    return handler


def take_over_stderr(handler: OutputHandler) -> None:
    """Send everything else on stderr through the log as well: uncaught exceptions, warnings, prints."""
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_fault
    threading.excepthook = _log_fault_of_thread
    sys.unraisablehook = _log_unraisable
    sys.stderr = LineStream(handler.output, 2)


def _log_fault(kind: type[BaseException], fault: BaseException, trace: TracebackType | None) -> None:
    logger.critical("uncaught exception", exc_info=(kind, fault, trace))


def _log_fault_of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        name = args.thread.name if args.thread else "?"
        logger.critical(
            "uncaught exception in the thread %s", name, exc_info=(args.exc_type, args.exc_value, args.exc_traceback)
        )


def _log_unraisable(args: sys.UnraisableHookArgs) -> None:
    if args.exc_value is not None:
        logger.error(
            "%s: %r", args.err_msg or "exception ignored", args.object,
            exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
        )  # fmt: skip
