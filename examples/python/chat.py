"""A terminal client of bcast_grpc, with nothing but gRPC's packages and the stubs made from the ``.proto``.

This module is long: an example is one file, to be read from top to bottom and copied.
"""

import argparse
import asyncio
import codecs
import contextlib
import itertools
import os
import random
import re
import select
import signal
import ssl
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # stderr is for our lines; gRPC reads this when it is imported

import grpc
from google.protobuf.json_format import MessageToJson, Parse, ParseError
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status import rpc_status

from bcast_grpc.v1 import chat_pb2 as pb
from bcast_grpc.v1 import chat_pb2_grpc

MAX_LINE_BYTES = 100_000
MAX_PENDING = 32  # of such lines; together they fit into the 4 MiB that a frame may have
MAX_UNDER_WAY = 65_536  # bytes, or one request: on a slow line all else waits behind them, answers to pings too
MAX_BACKOFF_S = 5.0
MAX_JOINING_S = 10.0
SPREAD_S = 0.1  # so that those who lost a server do not all come to the next one at once
MAX_LEAVING_S = 10.0
NOT_TRUSTED = 69
NOT_LET_IN = 77
RENEW_S = 1.0  # between looks into the file for a new token
BROKEN_PIPE = 128 + 13  # as a shell tells of programs that end by SIGPIPE
CHANNEL_OPTIONS = [
    # A ping where nothing has come for 10 s, and the end where nothing answers it for 20 s. On a slow line pings and
    # their answers wait behind all that was sent before, so that is little: a window of a fixed size, instead of one
    # that gRPC finds out by pings of its own.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 60_000),  # for TCP; gRPC waits for the ping
    ("grpc.http2.max_pings_without_data", 0),  # there is no bound
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 65_535),
    ("grpc.enable_retries", 0),  # we try again; gRPC would at once, and again, while a proxy goes away
]
LOOPBACK = re.compile(r"(dns:/*|ipv[46]:)?(localhost\.?|127(\.\d+){1,3}|\[::1\])(:\d+)?", re.IGNORECASE)
# Without an ErrorInfo of the server: it is no such server, or does not let us in.
REFUSALS = ("PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED")
HTTP_STATUS = re.compile("http.* status", re.IGNORECASE)  # so gRPC tells of one that a proxy answered with
UNTRUSTED = re.compile(
    r"(CERTIFICATE_VERIFY_FAILED|Hostname Verification Check failed|Peer name \S+ is not in peer certificate)"
    r"(?:: ([^:;\]]+))?"
)
NOT_SHOWN = {pb.EVENT_KIND_WELCOME, pb.EVENT_KIND_ACK, pb.EVENT_KIND_PROGRESS, pb.EVENT_KIND_EXPIRING}
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Server:
    """One of those that share the rooms."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.due = self.backoff_s = 0.0  # when to call it, and how long after the next failure
        self.fault = 0  # the exit code, if what is there is no server to talk to


class Chat:
    """A place in a room, kept over any number of connections."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.client = str(uuid.uuid4())
        self.credentials = credentials_of(options)
        self.token = os.environ.get("BCAST_TOKEN", "").strip()
        self.read_token()
        self.epoch, self.seq = "", 0  # the place to go on from
        self.ids = (f"#{n}" for n in itertools.count(1))
        self.pending: dict[str, pb.ConnectRequest] = {}  # not answered yet
        self.batches: list[pb.ConnectRequest] = []  # of the user's own; sent once, as nothing answers them
        self.unsent: deque[pb.ConnectRequest] = deque()
        self.under_way: dict[str, int] = {}  # the sizes of what is sent and not answered
        self.free = threading.Semaphore(MAX_PENDING)
        self.changed = asyncio.Event()
        self.input_ended = self.leaving = self.connected = self.failed = False
        self.since = self.reconnect_after_s = 0.0
        targets = [re.sub("^grpcs?://", "", each.strip()) for each in options.target.split(",")]
        if not all(targets):
            text = "has an empty address; it must be HOST:PORT, or several with commas between them"
            raise ValueError(f"target: '{options.target}' {text}")
        self.servers = [Server(target) for target in random.sample(targets, len(targets))]
        self.server = self.servers[0]
        self.move = False  # to another server, as this one has lost its store

    @property
    def done(self) -> bool:
        return self.leaving or (self.input_ended and not self.pending and not self.batches)

    async def run(self) -> int:
        """Go from connection to connection; return the exit code."""
        while True:
            server, code = self.server, 0
            server.fault = 0
            try:
                async with self.open_channel(server.target) as channel:
                    end = await self.talk(chat_pb2_grpc.ChatStub(channel))
            except TimeoutError:
                end = f"the server did not {'end the call' if self.connected else 'answer'} in time"
            except grpc.aio.AioRpcError as error:
                end, code = self.judge(error)
            if code:
                complain(end)
                return code
            if self.done:
                return int(self.failed)
            complain(f"{f'{server.target}: ' if len(self.servers) > 1 else ''}{end}; trying again")
            if self.connected and time.monotonic() > self.since + MAX_BACKOFF_S:  # it was worth something
                server.backoff_s = 0.0
                for each in self.servers:  # all are as good again, else all clients would go round in one order
                    each.due = max(each.due, time.monotonic() - random.random())
            self.connected = False
            server.backoff_s = min(2 * server.backoff_s or 0.1, MAX_BACKOFF_S)
            pause_s = self.reconnect_after_s or random.uniform(0.8, 1.2) * server.backoff_s
            server.due = time.monotonic() + pause_s
            self.server = min(self.servers, key=lambda each: each.due)
            await asyncio.sleep(max(self.server.due - time.monotonic(), random.uniform(0, SPREAD_S)))

    def open_channel(self, target: str) -> grpc.aio.Channel:
        options = list(CHANNEL_OPTIONS)
        if LOOPBACK.fullmatch(target):
            options.append(("grpc.enable_http_proxy", 0))  # a proxy's loopback is another one
        if self.credentials:
            return grpc.aio.secure_channel(target, self.credentials, options=options)
        return grpc.aio.insecure_channel(target, options=options)

    def judge(self, error: grpc.aio.AioRpcError) -> tuple[str, int]:
        """Return why a call ended, and the exit code if there is no server where the next one might not."""
        name = error.code().name
        end, final = f"{name}: {error.details()}", self.is_final(error)
        if why := UNTRUSTED.search(error.details() or ""):
            end, self.server.fault = f"the server is not trusted: {why[2] or why[1]}", NOT_TRUSTED
        elif final and name == "UNIMPLEMENTED":
            self.server.fault = 1
        elif final:
            return end, NOT_LET_IN if name in REFUSALS else 1
        # That says nothing of the others, unless it is the same everywhere.
        return end, self.server.fault if all(each.fault for each in self.servers) else 0

    def read_token(self) -> None:
        """Take the token that the file holds now, if there is a file."""
        if self.options.token_file:
            self.token = Path(self.options.token_file).read_text(encoding="ascii").strip()

    def renew(self, call: object) -> None:
        """Send the token that is in the file; if it is still the old one, look again later."""
        old = self.token
        with contextlib.suppress(OSError, UnicodeDecodeError):
            self.read_token()
        if self.unsent is not call:
            return  # that call has ended, and the next one presented what was in the file
        if self.token == old:
            asyncio.get_running_loop().call_later(RENEW_S, self.renew, call)
            return
        self.unsent.appendleft(pb.ConnectRequest(operacion="auth", msg=self.token))  # nothing answers it but a refusal
        self.changed.set()

    def is_final(self, error: grpc.aio.AioRpcError) -> bool:
        """Whether the next call would end in the same way."""
        try:
            status = rpc_status.from_call(error)
        except (ValueError, DecodeError):  # something between made it
            status = None
        info, retry = ErrorInfo(), RetryInfo()
        for detail in status.details if status else ():
            if detail.Unpack(retry):
                self.reconnect_after_s = retry.retry_delay.ToTimedelta().total_seconds()
            detail.Unpack(info)
        if info.domain == "bcast_grpc":
            if info.reason == "TOKEN_EXPIRED" and self.options.token_file:
                return False  # by then the file may have another one
            return info.metadata["retryable"] == "false"
        # What a proxy says when the server is away proves nothing.
        return error.code().name in REFUSALS and not (self.epoch and HTTP_STATUS.search(error.details() or ""))

    async def talk(self, stub: chat_pb2_grpc.ChatStub) -> str:
        """Make one call, and say why it ended, if not with a status."""
        metadata = [("bcast-client", self.client), ("bcast-events", "all"), ("bcast-batch", "1")]
        if self.options.name is not None:
            metadata.append(("bcast-name", quote(self.options.name, safe="")))
        if self.options.room is not None:
            metadata.append(("bcast-room", quote(self.options.room, safe="")))
        if self.epoch:
            metadata.append(("bcast-after", f"{self.epoch}:{self.seq}"))
        with contextlib.suppress(OSError, UnicodeDecodeError):  # then with the last one
            self.read_token()
        if self.token:
            metadata.append(("authorization", f"Bearer {self.token}"))
        self.unsent = deque([*self.pending.values(), *self.batches])
        self.under_way = {}
        self.reconnect_after_s, self.move = 0.0, False
        let_in = asyncio.Event()
        try:
            async with asyncio.timeout(None) as limit:
                call = stub.Connect(self.requests(limit, let_in), metadata=metadata)
                async with asyncio.timeout(MAX_JOINING_S):
                    await call.initial_metadata()
                let_in.set()
                async for frame in call:
                    for event in frame.batch or [frame]:
                        self.hear(event)
                    if self.move:
                        return "the server has lost its store"
        finally:
            self.unsent = deque()
            let_in.set()  # whoever sent in this call sends no more
            self.changed.set()
        return "the stream was ended by something between"

    async def requests(self, limit: asyncio.Timeout, let_in: asyncio.Event) -> AsyncIterator[pb.ConnectRequest]:
        """Yield what is to be sent: one request, or as many as there are; the end of it half-closes the stream."""
        unsent = self.unsent
        # A write to a call that is refused would hide why: https://github.com/grpc/grpc/issues/36066.
        await let_in.wait()
        while not self.done and unsent is self.unsent:
            frame = []
            while unsent and not unsent[0].batch and self.has_room_for(unsent[0]):
                frame.append(unsent.popleft())
                if frame[-1].id:
                    self.under_way[frame[-1].id] = frame[-1].ByteSize()
            if frame:
                yield pb.ConnectRequest(batch=frame) if len(frame) > 1 else frame[0]
            elif unsent and unsent[0].batch:
                self.batches.remove(unsent[0])
                yield unsent.popleft()
            else:
                self.changed.clear()
                await self.changed.wait()
        if unsent is self.unsent:
            limit.reschedule(asyncio.get_running_loop().time() + MAX_LEAVING_S)

    def has_room_for(self, request: pb.ConnectRequest) -> bool:
        return not self.under_way or sum(self.under_way.values()) + request.ByteSize() <= MAX_UNDER_WAY

    def hear(self, event: pb.ConnectResponse) -> None:
        if event.kind == pb.EVENT_KIND_WELCOME:
            self.connected, self.since = True, time.monotonic()
            if self.epoch != event.welcome.epoch:  # all that is kept of a new order is going to come
                self.epoch, self.seq = event.welcome.epoch, 0 if self.epoch else event.seq
        elif event.kind in (pb.EVENT_KIND_MESSAGE, pb.EVENT_KIND_PROGRESS):
            self.seq = event.seq
        elif event.kind == pb.EVENT_KIND_ACK and (event.ack.epoch, event.ack.seq) == (self.epoch, self.seq + 1):
            self.seq += 1
        elif event.kind == pb.EVENT_KIND_GAP:
            self.seq = 0 if event.gap.reason == pb.GAP_REASON_NEW_EPOCH else event.gap.last_missed or self.seq
        elif event.kind == pb.EVENT_KIND_EXPIRING and self.options.token_file:
            self.renew(self.unsent)
        elif event.kind == pb.EVENT_KIND_CLOSING:
            self.reconnect_after_s = event.closing.reconnect_after.ToTimedelta().total_seconds()
        if self.under_way.pop(event.id, None):
            self.changed.set()
        retry = event.kind == pb.EVENT_KIND_ERROR and event.error.retryable
        if retry and event.id in self.pending:
            after = event.error.retry_after.ToTimedelta().total_seconds() or 1.0
            if event.error.code == pb.ERROR_CODE_BROKER_UNAVAILABLE and self.has_other():
                self.move, self.reconnect_after_s = True, after
            asyncio.get_running_loop().call_later(after, self.send_again, self.pending[event.id], self.unsent)
        elif not event.members.more and self.pending.pop(event.id, None):
            self.free.release()
            self.changed.set()
        self.failed |= event.kind == pb.EVENT_KIND_ERROR and not retry
        if self.options.json:
            print(MessageToJson(event, preserving_proto_field_name=True, indent=None, ensure_ascii=False), flush=True)
        elif event.kind == pb.EVENT_KIND_ERROR and not retry:
            complain(event.message)
        elif event.kind != pb.EVENT_KIND_ERROR and event.kind not in NOT_SHOWN:
            print(shown(event.message), flush=True)

    def has_other(self) -> bool:
        """Whether another server may be called now."""
        return any(each.due <= time.monotonic() for each in self.servers if each is not self.server)

    # --- what comes from outside

    def say(self, line: bytes) -> None:
        """Take a line of input, which has a place among the pending ones."""
        text = "" if self.input_ended else line.decode(errors="replace").rstrip("\r\n")
        try:
            if len(text.encode()) > MAX_LINE_BYTES:
                raise ParseError(f"a line is longer than {MAX_LINE_BYTES} bytes")
            request = Parse(text or "{}", pb.ConnectRequest()) if self.options.json else pb.ConnectRequest(msg=text)
        except ParseError as error:
            complain(f"not sent: {error}")
            self.failed = True
            text = ""
        if not text:
            self.free.release()
            return
        if not request.batch:
            request.id = request.id or next(self.ids)
        if request.batch or request.id in self.pending:
            self.free.release()
        if request.batch:
            self.batches.append(request)
        else:
            self.pending[request.id] = request
        self.input_ended = any(each.operacion == "leave" for each in [request, *request.batch])
        self.send(request)

    def send(self, request: pb.ConnectRequest) -> None:
        self.unsent.append(request)
        self.changed.set()

    def send_again(self, request: pb.ConnectRequest, unsent: deque[pb.ConnectRequest]) -> None:
        if unsent is self.unsent and self.pending.get(request.id) is request:  # else the next call has sent it
            self.send(request)

    def end_input(self) -> None:
        self.input_ended = True
        self.changed.set()

    def leave(self) -> None:
        self.leaving = True
        self.changed.set()


def credentials_of(options: argparse.Namespace) -> grpc.ChannelCredentials | None:
    """Return what TLS needs, if it is wanted; without a CA the system's are trusted."""
    files = options.tls_ca, options.tls_key, options.tls_cert
    if not any(files) and "grpcs://" not in options.target:
        return None
    files = files[0] or ssl.get_default_verify_paths().cafile, *files[1:]
    return grpc.ssl_channel_credentials(*(Path(file).read_bytes() if file else None for file in files))


def read_lines(loop: asyncio.AbstractEventLoop, chat: Chat) -> None:
    """Read the input, as fast as it is answered."""
    limit = len(codecs.BOM_UTF8) + MAX_LINE_BYTES + len("\r\n")
    bom = codecs.BOM_UTF8
    while line := sys.stdin.buffer.readline(limit):
        rest = line
        while len(rest) == limit and not rest.endswith(b"\n"):
            rest = sys.stdin.buffer.readline(limit)
        chat.free.acquire()
        loop.call_soon_threadsafe(chat.say, line.removeprefix(bom))
        bom = b""
    loop.call_soon_threadsafe(chat.end_input)


def watch_output() -> None:
    """End where nobody reads the output any more, also while there is nothing to print."""
    poller = select.poll()
    poller.register(sys.stdout, 0)
    for _, happened in poller.poll():
        if happened & select.POLLERR:
            os._exit(BROKEN_PIPE)


def shown(text: str) -> str:
    """Make a text of strangers fit for a terminal."""
    return CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def complain(text: str) -> None:
    print(shown(text), file=sys.stderr, flush=True)


async def main() -> int:
    parser = argparse.ArgumentParser(description="Say lines to all others in a room, and print what they say.")
    parser.add_argument("--name", help="who you are to the others")
    parser.add_argument("--room", help="the room to be in; lobby by default")
    parser.add_argument("--json", action="store_true", help="lines in are requests and lines out events, as JSON")
    parser.add_argument("--token-file", help="a file with the token, read again when it expires; else BCAST_TOKEN")
    parser.add_argument("--tls-ca", help="use TLS, and trust the authorities in this PEM file, not the system's")
    parser.add_argument("--tls-cert", help="PEM file with our certificate")
    parser.add_argument("--tls-key", help="PEM file with its key")
    where = "HOST:PORT, or several with commas between them; grpcs:// before it for TLS; %(default)s by default"
    parser.add_argument("target", nargs="?", default="127.0.0.1:50051", help=where)
    try:
        chat = Chat(parser.parse_args())
    except (OSError, ValueError) as error:
        parser.error(shown(str(error)))
    loop = asyncio.get_running_loop()

    def interrupt(*_: object) -> None:  # comes also where the loop is held up, as nobody reads what it prints
        threading.Timer(2.0 if chat.connected else 0.0, os._exit, [130]).start()
        loop.call_soon_threadsafe(chat.leave)

    signal.signal(signal.SIGINT, interrupt)
    threading.Thread(target=read_lines, args=[loop, chat], daemon=True).start()
    if hasattr(select, "poll"):
        threading.Thread(target=watch_output, daemon=True).start()
    try:
        code = await chat.run()
    except BrokenPipeError:
        return BROKEN_PIPE
    except OSError as error:
        complain(f"cannot print: {error}")
        return 1
    return 130 if code == 0 and chat.leaving else code


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    os._exit(asyncio.run(main()))  # the thread that reads is not to be waited for
