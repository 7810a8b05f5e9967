"""What a test may find in the log that is not its own."""

from __future__ import annotations

import logging


def is_of_another_loop(record: logging.LogRecord) -> bool:
    """Whether gRPC complains that it cannot answer the loop of a test before, which is closed by now."""
    closed = record.exc_info and str(record.exc_info[1]) == "Event loop is closed"
    return bool(closed and "PollerCompletionQueue._handle_events" in record.getMessage())
