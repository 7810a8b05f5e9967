"""Processes that stand still."""

from __future__ import annotations

import itertools
import sys
import threading
import time

from tests.freezes import freeze


def test_nothing_goes_on_meanwhile() -> None:
    """In no thread."""
    count = [0]
    done = threading.Event()

    def work() -> None:
        for n in itertools.count():
            count[0] = n
            time.sleep(0)
            if done.is_set():
                return

    worker = threading.Thread(target=work)
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(60)  # nobody is made to hand the lock on
    try:
        worker.start()
        while not count[0]:
            time.sleep(0)
        before = count[0]
        freeze(0.05)
        after = count[0]
    finally:
        sys.setswitchinterval(interval_s)
        done.set()
        worker.join()
    assert before == after
