"""A process that is forked while a chat is open: the child gets a clear error at once, the parent goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.timeout(120)

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}

PRELUDE = """
    import asyncio, gc, multiprocessing, os, signal, sys, threading
    from contextlib import suppress
    import bcast_grpc

    target, room = sys.argv[1:]

    def connect():
        with bcast_grpc.connect_sync(target, room=room) as chat:
            chat.send("x", timeout_s=30)

    def refused(use):
        try:
            use()
        except bcast_grpc.BcastError as error:
            return "fork" in error.reason and not error.retryable
        return False

    def in_child(work):
        child = os.fork()
        if not child:
            signal.alarm(30)  # ends one that hangs
            os._exit(0 if work() else 1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def run(program: str, server: str, room: str) -> str:
    """What a program prints that has nothing of these tests' around it."""
    command = [sys.executable, "-c", textwrap.dedent(PRELUDE) + textwrap.dedent(program), server, room]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_every_use_of_an_inherited_chat_and_every_new_one_is_an_error_at_once(server: str, room: str) -> None:
    """Fifty times, while a thread of the parent is at work in gRPC; it goes on undisturbed."""
    program = """
        def talk():
            while not done:
                chat.send("x")

        done = False
        with bcast_grpc.connect_sync(target, room=room, echo=True) as chat:
            uses = [
                connect,
                lambda: asyncio.run(bcast_grpc.connect(target).__aenter__()),
                lambda: chat.send("x"),
                lambda: chat.post("x"),
                chat.flush,
                chat.members,
                lambda: next(chat),
                chat.leave,
                lambda: chat.__exit__(None, None, None),
            ]
            talking = threading.Thread(target=talk)
            talking.start()
            next(chat)
            exits = {in_child(lambda: refused(uses[number % len(uses)])) for number in range(50)}
            done = True
            talking.join()
            ack = chat.send("last")
            seqs = [1, *(event.seq for _, event in zip(range(ack.seq - 1), chat))]
        print(exits, seqs == list(range(1, ack.seq + 1)))
    """
    assert run(program, server, room) == "{0} True\n"


def test_a_child_that_uses_no_chat_ends_as_it_likes(server: str, room: str) -> None:
    """Also by an exit in the block of the chat, which stays the parent's."""
    program = """
        with bcast_grpc.connect_sync(target, room=room, name="ana") as chat:
            exits = set()
            for _ in range(20):
                child = os.fork()
                if not child:
                    signal.alarm(30)
                    sys.exit(7)
                exits.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            forking = multiprocessing.get_context("fork").Process(target=int)
            forking.start()
            forking.join()
            print(exits, forking.exitcode, [member.name for member in chat.members()])
    """
    assert run(program, server, room) == "{7} 0 ['ana']\n"


def test_the_asynchronous_chat_says_the_same(server: str, room: str) -> None:
    """In a coroutine that goes on in the child."""
    program = """
        async def main():
            async with bcast_grpc.connect(target, room=room) as chat:
                child = os.fork()
                if not child:
                    signal.alarm(30)
                    try:
                        await chat.send("x")
                    except bcast_grpc.ChatClosed:
                        os._exit(5)
                    os._exit(1)
                exit_code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                print(exit_code, (await chat.send("x")).seq)

        asyncio.run(main())
    """
    assert run(program, server, room) == "5 1\n"


def test_a_fork_waits_until_grpc_has_ended(server: str, room: str) -> None:
    """A child that is forked before that would hang; an error may keep gRPC alive until garbage is collected."""
    program = """
        from bcast_grpc.client import fork

        def fails():
            with suppress(ValueError), bcast_grpc.connect_sync(target, room=room):
                raise ValueError

        def finds_no_server():
            with suppress(bcast_grpc.ConnectionLost), bcast_grpc.connect_sync("127.0.0.1:1"):
                pass

        def works():
            connect()
            return True

        with bcast_grpc.connect_sync(target, room=room):
            print(fork._is_grpc_running())
        gc.disable()
        print({in_child(works) for use in (connect, fails, finds_no_server) * 3 if not use()})
        print({fork._is_running, fork._is_grpc_running()})
    """
    assert run(program, server, room) == f"{sys.platform == 'linux'}\n{{0}}\n{{False}}\n"


def test_a_child_cannot_connect_if_something_else_in_its_parent_uses_grpc(server: str, room: str) -> None:
    """Such as a channel of the application's own."""
    program = """
        connecting = bcast_grpc.connect_sync  # imports gRPC without its fork handlers
        import grpc

        with grpc.insecure_channel(target) as channel:
            grpc.channel_ready_future(channel).result()
            print(in_child(lambda: refused(connect)))
    """
    assert run(program, server, room) == "0\n"


def test_after_the_fork_all_may_connect(server: str, room: str) -> None:
    """As workers of a server do that was loaded before: the parent's chat was closed by then."""
    program = """
        def works():
            connect()
            return True

        connect()
        exits = {in_child(works) for _ in range(5)}
        connect()
        print(exits)
    """
    assert run(program, server, room) == "{0}\n"
