"""The synchronous chat against a real server: threads, Ctrl-C, time limits."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

import bcast_grpc
from bcast_grpc import (
    BacklogFull,
    CallError,
    ChatClosed,
    ConnectionLost,
    ErrorCode,
    Kind,
    RequestError,
    SyncChat,
)
from tests.forked import Program

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("no_thread_left")]


@pytest.fixture
def ana(server: str, room: str) -> Iterator[SyncChat]:
    """One in the room."""
    with bcast_grpc.connect_sync(server, name="ana", room=room) as chat:
        yield chat


@pytest.fixture
def bob(server: str, room: str, ana: SyncChat) -> Iterator[SyncChat]:
    """Another, who came later."""
    with bcast_grpc.connect_sync(server, name="bob", room=room) as chat:
        yield chat


def test_it_does_what_the_other_does(ana: SyncChat, bob: SyncChat) -> None:
    """Without await."""
    assert (ana.session != bob.session, ana.room, ana.epoch) == (True, bob.room, bob.epoch)
    ack = ana.send("hola", data=b"x")
    ana.rename("eva")
    assert [member.name for member in ana.members()] == ["eva", "bob"]
    ana.post("one")
    ana.post("two")
    ana.flush()
    ana.leave()
    ana.leave()
    bob.leave()
    events = list(bob)
    assert [event.message for event in events] == ["ana: hola", "eva: one", "eva: two", "eva left"]
    assert (ack.seq, events[0].seq, events[0].data) == (1, 1, b"x")


def test_posts_arrive_all_once_and_in_order(ana: SyncChat, bob: SyncChat) -> None:
    """As many as there is room for, and more after a flush."""
    count = 0
    while count < 30_000:
        try:
            ana.post(str(count))
            count += 1
        except BacklogFull:
            ana.flush()
    ana.leave()
    assert [next(bob).text for _ in range(count)] == [str(number) for number in range(count)]


def test_many_threads_may_say_and_hear_at_the_same_time(ana: SyncChat, bob: SyncChat) -> None:
    """Each event goes to one of them."""

    def say(speaker: int) -> None:
        for number in range(100):
            if number % 10:
                ana.post(f"{speaker}.{number}")
            else:
                ana.send(f"{speaker}.{number}")

    def hear(_: int) -> list[str]:
        return [event.text for event in bob if event.kind is Kind.MESSAGE]

    with ThreadPoolExecutor(16) as threads:
        hearing = [threads.submit(hear, number) for number in range(4)]
        list(threads.map(say, range(10)))
        ana.leave()
        bob.leave()
        heard = [text for future in hearing for text in future.result()]
    assert sorted(heard) == sorted(f"{speaker}.{number}" for speaker in range(10) for number in range(100))


def test_all_chats_share_one_thread(ana: SyncChat, bob: SyncChat) -> None:
    """Else gRPC would wake each of theirs for the events of any."""
    assert [thread.name for thread in threading.enumerate()].count("bcast_grpc") == 1


def test_the_iteration_may_be_broken_off_and_begun_again(server: str, room: str, ana: SyncChat) -> None:
    """Nothing is lost between, nor after the end."""
    heard: list[str] = []
    with bcast_grpc.connect_sync(server, room=room) as bob:
        for number in range(10):
            ana.send(str(number))
        for event in bob:
            heard.append(event.text)
            if len(heard) == 3:
                break
        bob.leave()
        heard.append(next(bob).text)
    heard += [event.text for event in bob]
    assert heard == [str(number) for number in range(10)]
    assert list(bob) == []


def test_a_wait_has_a_time_limit_where_it_is_given_one(mortal_server: tuple[Program, str]) -> None:
    """The chat goes on afterwards."""
    process, target = mortal_server
    with bcast_grpc.connect_sync(target) as chat:
        process.send_signal(signal.SIGSTOP)
        for wait in (chat.send, chat.rename):
            with pytest.raises(TimeoutError):
                wait("x", timeout_s=0.05)
        chat.post("x")
        for wait_for in (chat.flush, chat.members, chat.leave):
            with pytest.raises(TimeoutError):
                wait_for(timeout_s=0.05)
        process.send_signal(signal.SIGCONT)
        chat.leave()


def test_a_refusal_raises_and_the_chat_goes_on(ana: SyncChat) -> None:
    """The error is the server's."""
    with pytest.raises(RequestError) as caught:
        ana.send("")
    assert caught.value.code is ErrorCode.EMPTY_MESSAGE
    assert ana.send("x").seq == 1


def test_who_is_not_let_in_is_told_why_and_leaves_nothing(server: str) -> None:
    """Refused, or with no server there."""
    with pytest.raises(CallError, match="bcast-events"):
        bcast_grpc.connect_sync(server, events="some").__enter__()
    with pytest.raises(ConnectionLost, match="Connection refused"):
        bcast_grpc.connect_sync("127.0.0.1:1").__enter__()


def test_a_lost_server_ends_all_waits(mortal_server: tuple[Program, str]) -> None:
    """Those of other threads too; and leaving by that error does not hang."""
    process, target = mortal_server
    with ThreadPoolExecutor(3) as threads:
        with pytest.raises(ConnectionLost) as caught, bcast_grpc.connect_sync(target, max_downtime_s=0) as chat:  # noqa: PT012  # by `next`
            chat.send("x")
            process.send_signal(signal.SIGSTOP)
            waits: list[Future[object]] = [threads.submit(chat.send, "x"), threads.submit(chat.members)]
            process.kill()
            next(chat)
        assert caught.value.__context__ is None
        for wait in waits:
            with pytest.raises((ConnectionLost, ChatClosed)):
                wait.result()


def test_what_is_not_open_says_so(server: str, room: str) -> None:
    """Before and after."""
    chat = bcast_grpc.connect_sync(server, room=room)
    for _ in range(2):
        for use in (lambda: chat.send("x"), lambda: chat.post("x"), chat.members):
            with pytest.raises(ChatClosed):
                use()
        if not chat.session:
            with pytest.raises(ChatClosed):
                next(chat)
            with chat:
                pass


def test_a_chat_is_entered_once(ana: SyncChat) -> None:
    """And an attempt at more does it no harm."""
    with pytest.raises(RuntimeError, match="only once"):
        ana.__enter__()
    ana.send("x")


def test_leaving_in_one_thread_ends_the_waits_of_others(server: str, room: str) -> None:
    """Whatever they wait for."""
    started = threading.Barrier(3)

    def hear() -> list[bcast_grpc.Event]:
        started.wait()
        return list(chat)

    def ask() -> int:
        started.wait()
        count = 0
        try:
            while True:
                count += len(chat.members())
        except ChatClosed:
            return count

    with ThreadPoolExecutor(2) as threads:
        with bcast_grpc.connect_sync(server, room=room) as chat:
            hearing, asking = threads.submit(hear), threads.submit(ask)
            started.wait()
            chat.send("x")
        assert hearing.result() == []
        assert asking.result() >= 0


@contextmanager
def running(program: str) -> Iterator[subprocess.Popen[str]]:
    """Another Python, where nothing but this program stands between Ctrl-C and the main thread."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("wait", ["for event in chat: print(event.text, flush=True)", "chat.flush()", "chat.leave()"])
def test_ctrl_c_interrupts_a_wait(server: str, room: str, wait: str) -> None:
    """And leaving does not hang then."""
    program = f"""
        import bcast_grpc, sys
        try:
            with bcast_grpc.connect_sync({server!r}, room={room!r}) as chat:
                if not {wait.startswith("for")}:
                    # No server leaves a post unanswered; so one that it does not know of.
                    chat._chat._unanswered.post(bcast_grpc.events.Request())
                print("waiting", flush=True)
                {wait}
        except KeyboardInterrupt:
            sys.exit(130)
    """
    with running(program) as process:
        assert process.stdout
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "")


def test_an_interrupted_wait_loses_no_event(server: str, room: str) -> None:
    """It can be waited for again."""
    program = f"""
        import bcast_grpc

        def hear():
            print("hearing", flush=True)
            for event in chat:
                heard.append(event.seq)
                if len(heard) % 100 == 0:
                    print(len(set(heard)), flush=True)
                if len(heard) == 1000:
                    return True

        heard = []
        with bcast_grpc.connect_sync({server!r}, room={room!r}) as chat:
            while True:
                try:
                    if hear():
                        break
                except KeyboardInterrupt:
                    print("interrupted", flush=True)
    """
    with running(program) as process, bcast_grpc.connect_sync(server, room=room) as chat:
        assert process.stdout
        assert process.stdout.readline() == "hearing\n"
        for heard in range(100, 1001, 100):
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
            assert process.stdout.readline() == "hearing\n"
            for number in range(100):
                chat.post(str(number))
            assert process.stdout.readline() == f"{heard}\n"
