"""The plain door: bare sockets, as a student would write them."""

from __future__ import annotations

import asyncio
import json
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcast_grpc.core.session import Session
from bcast_grpc.server import Server
from bcast_grpc.transport.socket_options import watch_silence
from bcast_grpc.transport.tcp_door import TcpDoor
from tests import engine

from .conftest import LocalDoor, Serve
from .json_peers import SocketPeer
from .peers import PATIENCE_S, eventually, within

# --- as in the exercise


def student(port: int, name: str, say: list[str], listen: int) -> list[str]:
    """The exercise's client, with nothing but ``socket`` and ``json``."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as conn:
        conn.sendall(json.dumps({"operacion": "join", "msg": name}).encode())
        for text in say:
            conn.sendall(json.dumps({"operacion": "broadcast", "msg": text}).encode())
        lines = conn.makefile(encoding="utf-8")
        return [json.loads(next(lines))["message"] for _ in range(listen)]


async def test_a_students_client(doors: LocalDoor) -> None:
    """Plain blocking code: it joins, it sends, it receives, and the others get ``LEFT`` when it drops out."""
    ana = await doors.plug()
    await ana.send({"operacion": "join", "msg": "ana", "id": "1"})
    await ana.hear()
    task = asyncio.create_task(asyncio.to_thread(student, doors.server.tcp_port, "luis", ["hola", "¿qué tal?"], 1))
    assert await ana.hear_some(2) == ["luis: hola", "luis: ¿qué tal?"]
    await ana.send({"operacion": "broadcast", "msg": "bien 😀"})
    assert await task == ["ana: bien 😀"]
    assert await ana.hear_some(1) == ["luis left"]


async def test_it_is_in_the_lobby_at_once(doors: LocalDoor) -> None:
    """From the accept on, without a word and without a name."""
    ana = await doors.plug()
    await eventually(lambda: doors.server.hub.clients == 1)
    bob = await doors.connect("bob")
    await bob.say("hola")
    assert await ana.hear_some(1) == ["bob: hola"]
    await ana.send({"msg": "nameless"})
    assert (await bob.hear()).message == "nameless"
    await ana.close()
    await eventually(lambda: doors.server.hub.clients == 1)
    await bob.say("anyone?", id="1")
    assert (await bob.answer("1")).ack.queued == 0
    assert [event.message for event in bob.heard] == ["nameless", "sent to 0"]


async def test_requests_and_answers(doors: LocalDoor) -> None:
    """All operations, each answered by the request's id, a line each."""
    ana = await doors.plug()
    await ana.send(
        {"operacion": "join", "msg": "ana", "id": "1"},
        {"operacion": "who", "id": "2"},
        {"msg": "a", "id": "3"},
        {"operacion": "dance", "id": "4"},
        {"operacion": "leave", "id": "5"},
        {"msg": "too late", "id": "6"},
    )
    answers = {event["id"]: event for event in await ana.end()}
    assert {id_: event["kind"].removeprefix("EVENT_KIND_") for id_, event in answers.items()} == {
        "1": "ACK",
        "2": "MEMBERS",
        "3": "ACK",
        "4": "ERROR",
        "5": "ACK",
    }


# --- how it is cut


SEPARATORS = st.text(" \t\r\n", max_size=3)
REQUESTS = st.lists(
    st.fixed_dictionaries(
        {"msg": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)},
        optional={"x": st.lists(st.floats(allow_nan=False, allow_infinity=False))},
    ),
    min_size=1,
    max_size=8,
)


@pytest.fixture(scope="module")
def tcp_port() -> Iterator[int]:
    """A server in a thread of its own, for a test that is run many times."""
    ports: queue.Queue[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def serve() -> None:
        server = Server(engine.settings(tcp_port=0))
        await server.start()
        done = asyncio.Event()
        ports.put((server.tcp_port, asyncio.get_running_loop(), done))
        await done.wait()
        await server.stop()

    thread = threading.Thread(target=asyncio.run, args=[serve()])
    thread.start()
    port, loop, done = ports.get(timeout=PATIENCE_S)
    yield port
    loop.call_soon_threadsafe(done.set)
    thread.join()


@given(requests=REQUESTS, data=st.data(), ascii_only=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_stream_may_be_cut_anywhere(
    tcp_port: int, requests: list[Any], data: st.DataObject, ascii_only: bool
) -> None:
    """Objects with anything or nothing between them, many in a segment or one over many, cut in a character."""
    whole = "".join(json.dumps(one, ensure_ascii=ascii_only) + data.draw(SEPARATORS) for one in requests).encode()
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(whole) - 1)), max_size=6)))
    with socket.create_connection(("127.0.0.1", tcp_port), timeout=PATIENCE_S) as hears:
        lines = hears.makefile(encoding="utf-8")
        hears.sendall(b'{"operacion":"who"}')
        assert json.loads(next(lines))["members"]["members"]
        with socket.create_connection(("127.0.0.1", tcp_port), timeout=PATIENCE_S) as speaks:
            speaks.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True):
                speaks.sendall(whole[start:stop])
            assert [json.loads(next(lines))["message"] for _ in requests] == [one["msg"] for one in requests]


# --- what does not fit


async def test_a_value_of_the_wrong_type_is_an_event(doors: LocalDoor) -> None:
    """The connection goes on; unknown keys are ignored."""
    ana, bob = await doors.plug(), await doors.connect()
    await ana.write(b'{"msg":5}{"operacion":[]}[{"msg":"a"},7]{"msg":"b","colour":{"is":"red"}}')
    errors = [await ana.hear() for _ in range(3)]
    assert {event["error"]["code"] for event in errors} == {"ERROR_CODE_MALFORMED"}
    assert [event.message for event in await bob.hear_some(2)] == ["a", "b"]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"hola\n", id="no object"),
        pytest.param(b"{broken", id="no key"),
        pytest.param(b'{"msg": hola}', id="no value"),
        pytest.param(b'{"msg":"a",}', id="a comma too many"),
        pytest.param(b'{"msg":"hola\n', id="a line break in a string"),
        pytest.param(b'{"msg":"\xff"}', id="no UTF-8"),
        pytest.param(b'{"msg":"a"}}', id="a brace too many"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="HTTP"),
        pytest.param(b"[" * 200_000, id="too deep"),
    ],
)
async def test_broken_json_is_the_end(doors: LocalDoor, broken: bytes) -> None:
    """An object with ``message`` and ``error``, then the end, though the client only goes on listening."""
    bob, ana = await doors.connect("bob"), await doors.plug()
    await ana.send({"operacion": "join", "msg": "ana", "id": "1"}, {"msg": "before"})
    assert (await ana.hear())["id"] == "1"
    assert (await bob.hear()).message == "ana: before"
    await ana.write(broken)
    event = (await ana.end())[-1]
    assert event["message"] == event["error"]["reason"]
    assert event["kind"] == "EVENT_KIND_ERROR"
    assert event["error"]["code"] == "ERROR_CODE_MALFORMED"
    assert [one.message for one in await bob.hear_until("ana left")] in ([], ["ana: a"])


async def test_what_came_before_it_counts(doors: LocalDoor) -> None:
    """Whole objects before a broken one in the same segment are carried out and answered."""
    ana, bob = await doors.plug(), await doors.connect()
    await ana.write(b'{"msg":"a","id":"1"}{"msg":"b","id":"2"}{]')
    *answers, error = await ana.end()
    assert [event["id"] for event in answers] == ["1", "2"]
    assert error["error"]["code"] == "ERROR_CODE_MALFORMED"
    assert [event.message for event in await bob.hear_some(2)] == ["a", "b"]


async def test_an_endless_object_is_bounded(doors: LocalDoor) -> None:
    """Past four MiB it gets an error and the end; while it goes on sending, it can still read that."""
    ana, bob = await doors.plug(), await doors.connect()

    async def send() -> None:
        await ana.write(b'{"msg":"')
        while True:
            await ana.write(b"x" * 65_536)

    sending = asyncio.create_task(send())
    (event,) = await ana.end()
    assert event["error"]["code"] == "ERROR_CODE_MESSAGE_TOO_LARGE"
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await ana.close()
    await eventually(lambda: doors.server.hub.clients == 1)
    await bob.say("still here", id="1")
    await bob.answer("1")


async def test_an_object_that_ends_too_early(doors: LocalDoor) -> None:
    """A stream that ends in the middle of an object is broken, and says so."""
    ana = await doors.plug()
    await ana.write(b'{"msg":"a","id":"1"}{"msg":"b')
    ana.writer.write_eof()
    answer, error = await ana.end()
    assert answer["id"] == "1"
    assert error["error"]["code"] == "ERROR_CODE_MALFORMED"


# --- how it ends


async def leave(peer: SocketPeer) -> None:
    """Ask to leave."""
    await peer.send({"operacion": "leave"})


async def half_close(peer: SocketPeer) -> None:
    """Say that nothing more will be sent."""
    peer.writer.write_eof()


async def close(peer: SocketPeer) -> None:
    """Close the socket."""
    peer.writer.close()


async def reset(peer: SocketPeer) -> None:
    """Break the connection."""
    peer.reset()


@pytest.mark.parametrize("way", [leave, half_close, close, reset])
async def test_a_departure_is_told(doors: LocalDoor, way: Callable[[SocketPeer], Any]) -> None:
    """However the stream of a named client ends, the others get one ``LEFT``."""
    ana, bob = await doors.plug(), await doors.connect()
    await ana.send({"operacion": "join", "msg": "ana", "id": "1"})
    await ana.hear()
    await way(ana)
    assert (await bob.hear()).message == "ana left"
    await eventually(lambda: doors.server.hub.clients == 1)
    await doors.publish("that is all")
    assert not await bob.hear_until("that is all")


async def test_a_half_close_is_a_goodbye(doors: LocalDoor) -> None:
    """``nc`` at the end of its input: what is queued for it still comes, then the end."""
    ana, bob = await doors.plug(), await doors.connect()
    await ana.send({"msg": "a", "id": "1"})
    await ana.hear()
    for n in range(1000):
        await bob.say(f"{n}", id=f"{n}")
    await bob.answer("999")
    await ana.send({"msg": "last", "id": "2"})
    ana.writer.write_eof()
    events = await ana.end()
    assert [event["message"] for event in events if event["kind"] == "EVENT_KIND_MESSAGE"] == [
        f"{n}" for n in range(1000)
    ]
    assert [event["id"] for event in events if event["kind"] == "EVENT_KIND_ACK"] == ["2"]


async def test_silence_is_no_fault(serve: Serve) -> None:
    """Who only listens stays, however long; whether it is still there, the system finds out."""
    doors = await serve(tcp_port=0, keepalive_s=1)
    ana, bob = await doors.plug(), await doors.connect(events="progress")
    await ana.write(b'{"msg": "half an obj')
    await bob.say("a", id="1")
    assert await ana.hear_some(1) == ["a"]
    await ana.write(b'ect"}')
    assert [event.message for event in await bob.hear_some(2)] == ["sent to 1", "half an object"]


@pytest.mark.parametrize(("keepalive_s", "idle_s"), [(20, 20), (0.1, 1), (2.6, 3)])
def test_a_dead_peer_is_found(keepalive_s: float, idle_s: int) -> None:
    """The system probes a silent connection, and gives it up within twice the keepalive, whether idle or not."""
    with socket.socket() as conn:
        watch_silence(conn, keepalive_s)
        assert conn.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == idle_s
            probes = conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
            assert probes * conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) <= max(3, idle_s)
            assert conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == round(2000 * max(1, keepalive_s))


@pytest.mark.usefixtures("unhurried")
async def test_who_reads_slowly_is_treated_as_any(serve: Serve) -> None:
    """Its queue is bounded; past it, it is disconnected, and what it reads later ends with the reason. Others go on."""
    doors = await serve(tcp_port=0, queue_messages=100)
    bob, slow, ana = await doors.connect(), await doors.plug(), await doors.plug()
    await slow.send({"operacion": "join", "msg": "slow"})
    slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
    said = 0
    while not ana.heard or ana.heard[-1].get("message") != "slow left":
        await bob.say(data=bytes(60_000))
        said += 1
        await ana.hear()
        assert said < 1000
    slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
    *events, error = await slow.end()
    assert [event["seq"] for event in events] == [f"{n + 1}" for n in range(len(events))]
    assert error["error"]["code"] == "ERROR_CODE_SLOW_CONSUMER"
    assert error["error"]["retryable"]


async def test_who_never_reads_its_last_words_is_let_go(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has some time for them, then the connection is broken: nothing is held for ever."""
    monkeypatch.setattr("bcast_grpc.transport.lingering.LINGER_S", 0.2)
    doors = await serve(tcp_port=0, queue_messages=100)
    bob, slow = await doors.connect(), await doors.plug()
    slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
    said = 0
    while doors.server.hub.clients == 2:
        said += 1
        await bob.say(data=bytes(60_000), id=f"{said}")
        await bob.answer(f"{said}")
    (door,) = [door for door in doors.server.doors if isinstance(door, TcpDoor)]
    await eventually(lambda: door._serving.empty)


async def test_a_full_server_says_so(serve: Serve) -> None:
    """One object, and the end."""
    doors = await serve(tcp_port=0, max_clients=1)
    await doors.connect()
    (event,) = await (await doors.plug()).end()
    assert event["error"] == {
        "code": "ERROR_CODE_SERVER_FULL",
        "reason": "1 clients are connected, which is the limit (max-clients); try again later",
        "retryable": True,
        "retry_after": "5s",
    }


async def test_a_server_that_stops_says_so(serve: Serve) -> None:
    """CLOSING after what is queued, then why, then the end."""
    doors = await serve(tcp_port=0)
    ana, bob = await doors.plug(), await doors.connect()
    await bob.say("last words", id="1")
    await bob.answer("1")
    draining = asyncio.create_task(doors.server.drain())
    said, closing, error = await ana.end()
    await ana.close()
    assert said["message"] == "last words"
    assert closing["closing"]["reconnect_after"] == error["error"]["retry_after"]
    assert error["error"]["code"] == "ERROR_CODE_SHUTTING_DOWN"
    await within(draining)


async def test_a_fault_of_ours_is_said_and_logged(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """INTERNAL, for that client alone."""
    doors = await serve(tcp_port=0)
    ana, bob = await doors.plug(), await doors.plug()
    await bob.send({"operacion": "who", "id": "1"})
    await bob.hear()

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Session, "handle", fail)
    await ana.send({"msg": "a"})
    (event,) = await ana.end()
    assert event["error"]["code"] == "ERROR_CODE_INTERNAL"
    monkeypatch.undo()
    await bob.send({"operacion": "who", "id": "2"})
    assert (await bob.hear())["id"] == "2"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    caplog.clear()
