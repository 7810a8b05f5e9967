"""What several processes of one server divide among them."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc import CannotStart
from bcast_grpc.server.machine.memory import Bound, ProcessMemory
from bcast_grpc.server.parts import limits
from bcast_grpc.server.processes import HANGS_S, LOOK_S, Backoff, Watchdog, say_how
from bcast_grpc.server.share import Worker
from bcast_grpc.settings import Settings, SettingsError
from bcast_grpc.transport.address import Address, listen
from bcast_grpc.transport.shared_ports import SharedPort


@given(total=st.integers(1, 10**12), of=st.integers(1, 256))
def test_shares_are_the_whole(total: int, of: int) -> None:
    """No more and no less, and equal; but each has one at least."""
    shares = [Worker(number, of).share(total) for number in range(1, of + 1)]
    assert sum(shares) == max(total, of)
    assert max(shares) - min(shares) <= 1


def test_a_worker_has_its_share_of_the_clients() -> None:
    """Of all, and of those of an address; no bound is none for each."""
    found = limits(Settings(max_clients=1001), Worker(1, 2))
    assert (found.max_clients, found.max_clients_per_peer) == (501, 450)
    assert limits(Settings(max_clients_per_peer=0), Worker(2, 2)).max_clients_per_peer == 0
    assert limits(Settings(max_clients_per_peer=9), Worker(2, 2)).max_clients_per_peer == 4


def test_what_is_left_is_divided() -> None:
    """Of what is counted for all together; what is taken too much counts for each."""
    taken = 400
    memory = ProcessMemory([Bound(800, lambda: taken, sharers=3)])
    assert memory.left() == 100
    taken = 800
    assert (memory.left(), memory.short) == (-100, True)


def test_a_file_has_one_process() -> None:
    """And there are no more processes than clients."""
    for some, words in ({"store": "sqlite:a.db"}, "must be 1 with store"), ({"max_clients": 1}, "at most max-clients"):
        with pytest.raises(SettingsError, match=words):
            Settings.model_validate({**some, "workers": 2})


@pytest.mark.parametrize("folder", ["", "/", ".", "~/chat", " a", "a\n"])
def test_a_folder_is_named_plainly(folder: str) -> None:
    """What would be read in another way elsewhere is refused."""
    with pytest.raises(SettingsError, match="nats:embedded:FOLDER as in"):
        Settings(store=f"nats:embedded:{folder}")


def test_a_kept_port_is_nobody_elses() -> None:
    """Not before a process listens on it, and not afterwards; the processes share it."""
    kept = SharedPort(Address("127.0.0.1", 0, "port"))
    where = Address("127.0.0.1", kept.port, "port")
    for sockets in ([], [kept.bind(), kept.bind()]):
        for one in sockets:
            one[0].listen()
        with pytest.raises(CannotStart, match="in use"):
            listen("127.0.0.1", kept.port, "port")
        with pytest.raises(CannotStart, match="in use"):
            SharedPort(where)
        with socket.socket() as other:  # another user's program may say so, too
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", kept.port))
        for one in sockets:
            one[0].close()
    kept.close()
    again = SharedPort(where)
    again.close()


def test_pauses_grow() -> None:
    """And are short again for what ran for a while."""
    backoff = Backoff()
    assert [backoff.next_s(1) for _ in range(9)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10])
    assert backoff.next_s(60) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "ended with exit code 0"), (-9, "was ended by SIGKILL"), (-40, "was ended by signal 40")],
)
def test_how_a_program_ended(code: int, words: str) -> None:
    """In words."""
    assert say_how(code) == words


def test_a_program_that_says_nothing_hangs() -> None:
    """After some seconds; before its first word it has longer."""
    now_s = 0.0
    watchdog = Watchdog(3 * HANGS_S, lambda: now_s)

    def hangs_after() -> float:
        nonlocal now_s
        since_s = now_s
        while not watchdog.hangs():
            now_s += LOOK_S
        return now_s - since_s

    assert hangs_after() == 3 * HANGS_S + LOOK_S
    watchdog.hear()
    assert not watchdog.hangs()
    assert hangs_after() == HANGS_S + LOOK_S
    watchdog.hear()
    now_s += 100 * HANGS_S  # nobody looked: this process stood still
    assert not watchdog.hangs()
    assert HANGS_S - LOOK_S <= hangs_after() <= HANGS_S + LOOK_S
