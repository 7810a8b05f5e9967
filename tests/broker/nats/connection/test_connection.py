"""The connection to NATS outlives everything, and says what is lost."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from nats.aio.msg import Msg

from bcast_grpc.broker.base import CannotOpen
from bcast_grpc.broker.nats.connection.client import CheckingClient
from bcast_grpc.broker.nats.connection.connection import Connection, TooLarge
from bcast_grpc.broker.nats.connection.requests import Lost, Requests
from bcast_grpc.broker.nats.connection.servers import Servers
from bcast_grpc.broker.nats.connection.target import Target
from bcast_grpc.broker.nats.connection.versions import version_of
from tests.authority import Authority
from tests.broker.nats.conftest import Connect
from tests.broker.nats.connecting import PATIENCE_S
from tests.broker.nats.servers import until
from tests.nats_server import NatsServer, running
from tests.ports import free_port


class Inbox:
    """What came on a subject."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._came = asyncio.Event()

    def __call__(self, message: Msg) -> None:
        """Take a message."""
        self.texts.append(message.data.decode())
        self._came.set()

    async def until(self, text: str) -> None:
        """Wait for a message."""
        async with asyncio.timeout(PATIENCE_S):
            while text not in self.texts:
                self._came.clear()
                await self._came.wait()


async def test_messages_come_and_requests_are_answered(shared_nats: NatsServer, connect: Connect) -> None:
    """To everyone who subscribed, with headers; each answer to who asked."""
    one, two = (await connect(shared_nats)).connection, (await connect(shared_nats)).connection
    inbox = Inbox()
    await two.subscribe("a.subject", inbox)
    await one.publish("a.subject", b"hola", {"A": "b"})
    await inbox.until("hola")

    def answer(message: Msg) -> None:
        answering.append(asyncio.ensure_future(two.publish(message.reply, message.data + b"!")))

    answering: list[asyncio.Future[None]] = []
    await two.subscribe("a.question", answer)
    answers = await asyncio.gather(*(one.request("a.question", f"{n}".encode(), 5) for n in range(20)))
    assert [message.data.decode() for message in answers] == [f"{n}!" for n in range(20)]
    await two.unsubscribe("a.subject")
    await one.request("a.question", b"", 5)
    await one.publish("a.subject", b"late")
    await one.request("a.question", b"", 5)
    assert inbox.texts == ["hola"]


async def test_an_answer_that_does_not_come_is_lost(shared_nats: NatsServer, connect: Connect) -> None:
    """Nobody waits longer than it says, and nothing is left of the request."""
    connection = (await connect(shared_nats)).connection
    await connection.subscribe("silence", lambda _: None)
    with pytest.raises(Lost):
        await connection.request("silence", b"", 0.05)
    assert not len(connection._requests)


class Replicas:
    """Some that may answer a request: the first does not, or begins and goes on late.

    Attributes:
        asked: how often they were.
    """

    def __init__(self, *, begins: bool) -> None:
        self.asked = 0
        self.requests = Requests(self._take)
        self._begins = begins

    async def _take(self, subject: str, data: bytes, headers: dict[str, str] | None, reply: str) -> None:
        self.asked += 1
        if self.asked > 1 or self._begins:
            self._answer(reply, b"a part", None)
        if self.asked > 1:
            self._end(reply)
        elif self._begins:
            asyncio.get_running_loop().call_later(0.3, self._end, reply)

    def _end(self, reply: str) -> None:
        self._answer(reply, b"", {"Status": "204"})

    def _answer(self, reply: str, data: bytes, headers: dict[str, str] | None) -> None:
        self.requests.answered(Msg(mock.Mock(), reply, "", data, headers))


@pytest.mark.parametrize(("begins", "asked"), [(False, 2), (True, 1)])
async def test_a_replica_that_hangs_is_not_waited_for(*, begins: bool, asked: int) -> None:
    """Another one is asked, unless the first has begun to answer; no answer is mixed with another."""
    replicas = Replicas(begins=begins)
    answers = await replicas.requests.collect("a.question", b"", 60)
    assert [answer.data for answer in answers] == [b"a part", b""]
    assert replicas.asked == asked
    assert not len(replicas.requests)


async def test_what_is_under_way_when_the_server_dies_is_lost_at_once(
    mortal_nats: NatsServer, connect: Connect
) -> None:
    """nats-py would wait for the time-out, which is long here."""
    connected = await connect(mortal_nats)
    connection = connected.connection
    await connection.subscribe("silence", lambda _: None)
    asking = asyncio.ensure_future(connection.request("silence", b"", 10 * PATIENCE_S))
    await asyncio.sleep(0)
    mortal_nats.kill()
    with pytest.raises(Lost):
        await asyncio.wait_for(asking, PATIENCE_S)
    await connected.until(up=False)
    with pytest.raises(Lost):  # not kept and sent later
        await connection.publish("silence", b"")
    with pytest.raises(Lost):
        await connection.subscribe("later", lambda _: None)


async def test_nothing_is_kept_to_be_sent_later(mortal_nats: NatsServer, connect: Connect) -> None:
    """Not even before it is known that the connection is lost: nats-py would keep 2 MB, which land late."""
    connected = await connect(mortal_nats)
    connection = connected.connection
    mortal_nats.kill()
    await connected.until(up=False)
    connection.up = True  # as if that were not known yet
    with pytest.raises(Lost):
        await connection.publish("later", b"")
    connection.up = False


@pytest.mark.parametrize("error", [OSError(), RuntimeError("the handler is closed")])
async def test_what_a_connection_that_is_just_closing_raises(
    shared_nats: NatsServer, connect: Connect, error: Exception
) -> None:
    """Is taken for a loss, also uvloop's way to say it."""
    connection = (await connect(shared_nats)).connection
    with mock.patch.object(connection._client, "publish", side_effect=error), pytest.raises(Lost):
        await connection.request("silence", b"", 5)


async def test_it_does_not_give_up(mortal_nats: NatsServer, connect: Connect) -> None:
    """nats-py would after 60 attempts, and its first connection never returns where it tries for ever."""
    connected = await connect(mortal_nats)
    client = connected.connection._client
    assert client
    mortal_nats.kill()
    await connected.until(up=False)
    client.options["reconnect_time_wait"] = 0.001
    await until(lambda: client._server_pool[0].reconnects >= 65)
    mortal_nats.start()
    await connected.until(up=True)
    assert connected.connection._client is client


async def test_an_attempt_that_outlives_its_end(mortal_nats: NatsServer) -> None:
    """A client that was closed connects no more, though the attempt did not notice that it was cancelled."""
    client = CheckingClient(Servers(), demands_tls=False, least_bytes=0)
    await client.connect(mortal_nats.url)
    await client.close()
    client._reconnection_task = asyncio.current_task()
    with pytest.raises(asyncio.CancelledError):
        await client._select_next_server()


@pytest.mark.parametrize(
    "error", [ConnectionResetError(), RuntimeError("unable to perform operation on <TCPTransport>")]
)
async def test_a_closed_connection_is_closed_all_the_same(shared_nats: NatsServer, error: Exception) -> None:
    """Though what was still to be written raises: a server that drains just then ends well."""
    client, told = CheckingClient(Servers(), demands_tls=False, least_bytes=0), asyncio.Event()

    async def tell() -> None:
        told.set()

    await client.connect(shared_nats.url, closed_cb=tell)
    await client.take_from("a.subject", Inbox())
    with mock.patch.object(client._transport, "writelines", side_effect=error):
        client._pending.append(b"PUB later 0\r\n\r\n")
        client._pending_data_size = 15
        await client.close()
    assert told.is_set()
    assert client.is_closed
    assert not client._subs


async def test_it_comes_back_with_all_subscriptions(mortal_nats: NatsServer, connect: Connect) -> None:
    """Also with those that were made meanwhile."""
    connected = await connect(mortal_nats)
    before, meanwhile = Inbox(), Inbox()
    await connected.connection.subscribe("before", before)
    mortal_nats.kill()
    await connected.until(up=False)
    with pytest.raises(Lost):
        await connected.connection.subscribe("meanwhile", meanwhile)
    mortal_nats.start()
    await connected.until(up=True)
    for subject, inbox in [("before", before), ("meanwhile", meanwhile)]:
        await connected.connection.publish(subject, b"again")
        await inbox.until("again")
    assert connected.news[0] == connected.news[-1] == ""
    assert len(connected.news) == 3


async def test_a_frozen_server_is_noticed(mortal_nats: NatsServer, connect: Connect) -> None:
    """By pings, after seconds and not after minutes."""
    connected = await connect(mortal_nats)
    mortal_nats.freeze()
    await connected.until(up=False, why="the server does not answer")
    mortal_nats.thaw()
    await connected.until(up=True)


async def test_an_error_after_which_nats_py_gives_up(shared_nats: NatsServer, connect: Connect) -> None:
    """A line that is too long closes its client for good; another one takes its place."""
    connected = await connect(shared_nats)
    connection, inbox = connected.connection, Inbox()
    await connection.subscribe("a.subject", inbox)
    client = connection._client
    assert client
    await client.publish("x" * 5000)
    await connected.until(up=False)
    await connected.until(up=True)
    assert connection._client is not client
    assert client.is_closed
    await connection.publish("a.subject", b"again")
    await inbox.until("again")


async def test_what_is_too_large_is_not_sent(shared_nats: NatsServer, connect: Connect) -> None:
    """It would close the connection, headers counting too."""
    connected = await connect(shared_nats)
    connection, inbox = connected.connection, Inbox()
    await connection.subscribe("large", inbox)
    with pytest.raises(TooLarge, match="max_payload"):
        await connection.publish("large", bytes(connection.max_bytes + 1))
    await connection.publish("large", bytes(connection.max_bytes), {"Nats-Expected-Last-Subject-Sequence": "9" * 20})
    await inbox.until("\0" * connection.max_bytes)
    assert connected.news == [""]


async def test_a_fault_while_taking_a_message_loses_no_other(
    shared_nats: NatsServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged."""
    connection = (await connect(shared_nats)).connection
    inbox = Inbox()

    def take(message: Msg) -> None:
        if message.data == b"1":
            raise RuntimeError
        inbox(message)

    await connection.subscribe("faults", take)
    for n in range(3):
        await connection.publish("faults", f"{n}".encode())
    await inbox.until("2")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


# --- what is refused


async def refusal(*servers: str, **target: Any) -> str:
    """Why a connection cannot be started."""
    connection = Connection(Target(servers, **{"patience_s": 20 * PATIENCE_S, **target}), lambda _: None)
    with pytest.raises(CannotOpen) as caught:
        await asyncio.wait_for(connection.start(), PATIENCE_S)  # what is final is said at once
    assert not connection.up
    return str(caught.value)


async def test_where_nobody_answers() -> None:
    """It says where."""
    port = free_port()
    assert f"127.0.0.1:{port}" in await refusal(f"nats://127.0.0.1:{port}", patience_s=0.5)


async def test_where_something_listens_and_says_nothing() -> None:
    """As a NATS server that hangs does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        why = await refusal(f"nats://127.0.0.1:{listener.getsockname()[1]}", patience_s=3)  # an attempt takes 2
    assert why.endswith("cannot be used: it does not answer")


async def test_one_that_is_not_there_yet_is_waited_for(shared_nats: NatsServer) -> None:
    """Though another one refuses for good; in the end that is what is reported."""
    why = await refusal(shared_nats.url, f"nats://127.0.0.1:{free_port()}", patience_s=1, least_bytes=1 << 30)
    assert "its max_payload is 1048576, and must be at least 1073741824" in why


async def test_an_old_server_is_refused_before_anything_is_sent() -> None:
    """Debian's would take the stream's configuration, and not follow it."""
    said: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.9.10","headers":true,"max_payload":1048576}\r\n')
        said.append(await reader.read(100))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        why = await refusal(f"nats://127.0.0.1:{port}")
    assert "it is NATS 2.9.10, and must be 2.12.4 or later" in why
    assert set(said) <= {b""}


async def test_a_server_without_tls_is_refused_where_tls_is_demanded(shared_nats: NatsServer) -> None:
    """Before the password is sent to it."""
    why = await refusal(shared_nats.url.replace("nats:", "tls:"), demands_tls=True)
    assert "it does not offer TLS, which tls:// demands" in why


async def test_a_wrong_password(nats_program: Path, tmp_path: Path, connect: Connect) -> None:
    """It is said, and not shown."""
    with running(nats_program, tmp_path, 'authorization { user: ana, password: "right" }') as server:
        why = await refusal(server.url, login={"user": "ana", "password": "wrong"})
        assert "Authorization Violation" in why
        assert "wrong" not in why
        assert (await connect(server, login={"user": "ana", "password": "right"})).connection.up


async def test_a_certificate_that_nobody_trusts(nats_program: Path, tmp_path: Path, connect: Connect) -> None:
    """It says why, and which setting helps; so does a server that wants a certificate and gets none."""
    authority = Authority(tmp_path)
    server_files, client_files = authority.sign("nats"), authority.sign("bcast")
    files = f'cert_file: "{server_files.cert}", key_file: "{server_files.key}", ca_file: "{authority.file}"'
    with running(nats_program, tmp_path / "nats", f"tls {{ {files}, verify: true }}") as server:
        url = server.url.replace("nats:", "tls:")
        why = await refusal(url, demands_tls=True, login={"tls": ssl.create_default_context()})
        assert "its certificate is not trusted: " in why
        assert "store-ca" in why
        why = await refusal(url, demands_tls=True, login={"tls": authority.context()})
        assert "TLS fails: tlsv13 alert certificate required" in why
        assert (await connect(server, login={"tls": authority.context(client_files)})).connection.up


async def test_a_server_that_becomes_unusable_is_told_of_once(mortal_nats: NatsServer, connect: Connect) -> None:
    """And used again when that has changed."""
    connected = await connect(mortal_nats, least_bytes=1 << 20)
    client = connected.connection._client
    assert client
    mortal_nats.kill()
    await connected.until(up=False)
    mortal_nats.configure("max_payload: 65536")
    mortal_nats.start()
    await connected.until(up=False, why="max_payload is 65536")
    tried = client._server_pool[0].reconnects
    await until(lambda: client._server_pool[0].reconnects >= tried + 3)
    assert len(connected.news) == 3
    mortal_nats.kill()
    mortal_nats.configure("max_payload: 1048576")
    mortal_nats.start()
    await connected.until(up=True)


@pytest.mark.parametrize(
    ("text", "version"),
    [("2.12.4", (2, 12, 4)), ("2.15.2-beta.1", (2, 15, 2)), ("2.9.10", (2, 9, 10)), ("None", ())],
)
def test_versions(text: str, version: tuple[int, ...]) -> None:
    """They are compared as numbers."""
    assert version_of(text) == version
