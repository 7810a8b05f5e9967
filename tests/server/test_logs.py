"""The log on stderr: a line for each record, for people or for machines."""

from __future__ import annotations

import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from bcast_grpc.server.logs import JsonFormatter, set_up, take_over_stderr
from bcast_grpc.server.repeats import MOST


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Leave the log as it was."""
    root, asyncio_logger = logging.getLogger(), logging.getLogger("asyncio")
    handlers, level, asyncio_level = root.handlers[:], root.level, asyncio_logger.level
    root.handlers[:] = []
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    asyncio_logger.setLevel(asyncio_level)


def written(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """What is on stdout and stderr, once all that was logged is there."""
    for handler in logging.getLogger().handlers:
        handler.flush()
    return capsys.readouterr()


def record(message: str = "%d clients", *args: object, level: int = logging.WARNING) -> logging.LogRecord:
    """A record of some logger."""
    return logging.LogRecord("bcast_grpc.core", level, "file.py", 1, message, args, None)


def test_json_is_one_object_a_line() -> None:
    """Time, level, logger and message, and nothing else, whatever the message holds."""
    line = JsonFormatter().format(record("señal\n%s", '"'))
    assert "\n" not in line
    assert "señal" in line
    parsed = json.loads(line)
    assert list(parsed) == ["time", "level", "logger", "message"]
    assert (parsed["level"], parsed["logger"], parsed["message"]) == ("warning", "bcast_grpc.core", 'señal\n"')


def test_json_times_are_utc_to_the_millisecond() -> None:
    """So that machines can sort lines of several servers."""
    one = record("x")
    one.created = 1_500_000_000.1239
    time = json.loads(JsonFormatter().format(one))["time"]
    assert time == "2017-07-14T02:40:00.123+00:00"
    assert datetime.fromisoformat(time).utcoffset() == timedelta(0)


def test_json_holds_the_traceback() -> None:
    """A fault's traceback is part of its line."""
    one = record("a fault")
    try:
        raise ZeroDivisionError("insides")
    except ZeroDivisionError:
        one.exc_info = sys.exc_info()
    line = JsonFormatter().format(one)
    assert "\n" not in line
    exception = json.loads(line)["exception"]
    assert exception.startswith("Traceback (most recent call last):\n")
    assert exception.endswith("ZeroDivisionError: insides")


def test_text_is_a_line_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr, with time, level and logger; stdout is left alone."""
    set_up("info", "text")
    logging.getLogger("bcast_grpc.core").warning("%d clients", 3)
    out, err = written(capsys)
    assert out == ""
    assert err.endswith(" WARNING bcast_grpc.core: 3 clients\n")
    assert err.count("\n") == 1


def test_json_goes_to_stderr_too(capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line."""
    set_up("info", "json")
    logging.getLogger("a").info("one")
    logging.getLogger("b").error("two")
    out, err = written(capsys)
    assert out == ""
    assert [json.loads(line)["message"] for line in err.splitlines()] == ["one", "two"]


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_lines_below_the_level_are_left_out(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each level of the setting writes itself and what is above."""
    set_up(level, "text")
    levels = ["debug", "info", "warning", "error"]
    for one in levels:
        logging.getLogger("x").log(getattr(logging, one.upper()), "it is %s", one)
    said = [line.rpartition(" ")[2] for line in written(capsys)[1].splitlines()]
    assert said == levels[levels.index(level) :]


def test_set_up_again_does_not_double_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """The last call says how the log looks."""
    set_up("info", "text")
    set_up("info", "json")
    logging.getLogger("x").info("one")
    (line,) = written(capsys)[1].splitlines()
    assert json.loads(line)["message"] == "one"


def test_the_loops_own_chatter_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Asyncio's debug lines say nothing to whoever runs a server."""
    set_up("debug", "text")
    logging.getLogger("asyncio").debug("Using selector")
    logging.getLogger("asyncio").warning("something wrong")
    assert [line.rpartition(": ")[2] for line in written(capsys)[1].splitlines()] == ["something wrong"]


def test_a_line_that_cannot_be_made_fails_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    """It is told of in its place, in one line."""
    set_up("info", "text")
    logging.getLogger("x").info("%d of %d", 1)
    [line] = written(capsys)[1].splitlines()
    assert line.endswith("cannot format the log record '%d of %d'")


@pytest.mark.parametrize("level", ["info", "debug"])
def test_of_lines_that_are_alike_few_are_written(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    """But each at level ``debug``, which an operator asks for."""
    set_up("debug", "text")
    for number in range(3 * MOST):
        logging.getLogger("x").log(getattr(logging, level.upper()), "line %d", number)
    logging.getLogger("x").info("another")
    lines = [line.rpartition(": ")[2] for line in written(capsys)[1].splitlines()]
    if level == "debug":
        assert lines == [*(f"line {number}" for number in range(3 * MOST)), "another"]
    else:
        assert lines[:MOST] == [f"line {number}" for number in range(MOST)]
        assert lines[MOST:] == ["further ones are left out until it is over", "another"]


def test_all_that_is_said_on_stderr_goes_into_the_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faults that nobody caught, in threads and destructors too, warnings, and what is printed."""
    for module, name in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook"), (sys, "stderr")):
        monkeypatch.setattr(module, name, getattr(module, name))
    take_over_stderr(set_up("info", "json"))
    try:
        thread = threading.Thread(target=lambda: 1 / 0, name="worker")
        thread.start()
        thread.join()
        sys.excepthook(ValueError, ValueError("nobody caught me"), None)
        sys.unraisablehook(_Unraisable())  # type: ignore[arg-type]
        warnings.showwarning("old", DeprecationWarning, "file.py", 1)
        handler = logging.getLogger().handlers[0]
        handler.flush()
    finally:
        logging.captureWarnings(capture=False)
    lines = [json.loads(line) for line in written(capsys)[1].splitlines()]
    assert [line["message"].splitlines()[0].partition(":")[0] for line in lines[:3]] == [
        "uncaught exception in the thread worker", "uncaught exception", "in a destructor",
    ]  # fmt: skip
    assert ["ZeroDivisionError" in lines[0]["exception"], "nobody caught me" in lines[1]["exception"]] == [True, True]
    assert "DeprecationWarning: old" in lines[3]["message"]


class _Unraisable:
    exc_type, exc_value, exc_traceback = ValueError, ValueError("late"), None
    err_msg, object = "in a destructor", None
