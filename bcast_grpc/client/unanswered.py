"""The requests that are not answered yet, including those that are not written yet. No I/O."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from itertools import count
from threading import Lock
from typing import Any, NamedTuple, TypeAlias

from bcast_grpc.client.flushes import Flushes
from bcast_grpc.client.parts import Parts
from bcast_grpc.client.window import Window
from bcast_grpc.errors import BacklogFull, BcastError, ErrorCode, RequestError
from bcast_grpc.events import Event, Kind, Members, Request
from bcast_grpc.wire.protobuf import MAX_REQUEST_BYTES, encode_request
from bcast_grpc.wire.protobuf_requests import MAX_REQUESTS

MAX_FRAME_BYTES = 256 * 1024
"""The largest frame of several requests. A larger one would not bring the answers any sooner."""

Answer: TypeAlias = "asyncio.Future[Event]"

_ANSWERS = frozenset({Kind.ACK, Kind.ERROR, Kind.MEMBERS})


class _Asked(NamedTuple):
    """A request without an answer: its bytes on the wire, and the future of whoever waits.

    Attributes:
        answer: ``None`` for a post.
        number: for a post, its number among the posts.
        name: the new name, if that is what it asks for.
    """

    piece: bytes
    answer: Answer | None
    number: int = 0
    name: str = ""


class Unanswered:
    """The requests of one chat, kept until they are answered: those of a lost call are written again.

    ``post`` and ``take`` may be called from any thread, the rest only where the event loop runs.

    Args:
        max_requests: how many requests may be unanswered.
        max_bytes: how many bytes they may have on the wire.

    Attributes:
        queued: set when there is something to write; the writer waits for it.
        all_answered: set while no request is unanswered, or no more answers will come.
        name: the name that the server accepted, if it was asked for a new one.
    """

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        if max_requests < 1:
            raise ValueError(f"max_backlog must be 1 or more, not {max_requests}")
        self.queued = asyncio.Event()
        self.all_answered = asyncio.Event()
        self.name: str | None = None
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        # The server remembers ids by the stable client id, so two chats with the same one must not choose the same ids.
        self._prefix = secrets.token_urlsafe(6)
        self._numbers = count(1)
        self._lock = Lock()
        self._window = Window(MAX_FRAME_BYTES)
        self._held_up = False
        self._pieces: deque[bytes] = deque()
        self._asked: dict[str, _Asked] = {}  # in order
        self._asked_bytes = 0
        self._parts = Parts()
        self._waiting: dict[str, _Asked] = {}  # for room
        self._put_off: set[str] = set()
        self._posted = 0
        self._flushes = Flushes()

    @property
    def count(self) -> int:
        """How many requests are unanswered."""
        return len(self._asked) + len(self._waiting)

    @property
    def awaited(self) -> int:
        """How many answers are still wanted: those of posts, and of callers who did not give up."""
        waiting = (*self._asked.values(), *self._waiting.values())
        return sum(not (each.answer and each.answer.done()) for each in waiting)

    @property
    def answers(self) -> list[Answer]:
        """The futures of the answers that callers wait for."""
        return [each.answer for each in (*self._asked.values(), *self._waiting.values()) if each.answer]

    @property
    def unacknowledged(self) -> int:
        """How many posts are unanswered."""
        return sum(not each.answer for each in self._asked.values())

    def ask(self, request: Request) -> Answer:
        """Queue a request; without room it waits, first come, first served.

        Returns:
            The server's answer. If it is cancelled while the request waits for room, the request is dropped.

        Raises:
            ValueError: its id is in use by an unanswered request.
            RequestError: it is larger than any server accepts.
        """
        id_, piece = self._encode(request)
        answer: Answer = asyncio.get_running_loop().create_future()
        asked = _Asked(piece, answer, name=request.msg if request.operacion == "join" else "")
        with self._lock:
            self._check_id(id_)
            if self._waiting or not self._has_room(len(piece)):
                self._waiting[id_] = asked
                answer.add_done_callback(lambda _: self._give_up(id_, asked))
            else:
                self._queue(id_, asked)
        return answer

    def post(self, request: Request) -> None:
        """Queue a request whose answer nobody waits for.

        Raises:
            BacklogFull: too many requests are unanswered.
            ValueError: its id is in use by an unanswered request.
            RequestError: it is larger than any server accepts.
        """
        id_, piece = self._encode(request)
        with self._lock:
            self._check_id(id_)
            if self._waiting or not self._has_room(len(piece)):
                raise BacklogFull(
                    f"too many unanswered requests: {len(self._asked)} ({self._asked_bytes} bytes); at most "
                    f"{self._max_requests} ({self._max_bytes} bytes) are allowed; wait for flush()"
                )
            self._queue(id_, _Asked(piece, None, self._posted + 1))
            self._posted += 1

    def take(self) -> bytes:
        """Take the next frame to write; empty if there is nothing to write, or if enough is unanswered already."""
        with self._lock:
            pieces: list[bytes] = []
            size = 0
            allowed = self._window.allowance(len(self._pieces[0])) if self._pieces else 0
            while self._pieces and size + len(self._pieces[0]) <= allowed and len(pieces) < MAX_REQUESTS:
                piece = self._pieces.popleft()
                pieces.append(piece)
                size += len(piece)
            self._window.wrote(size)
            self._held_up = bool(self._pieces) and not size
        return b"".join(pieces)

    def rewind(self) -> None:
        """Write every unanswered request again, in order and before anything newer."""
        with self._lock:
            self._pieces = deque(each.piece for each in self._asked.values())
            self._window.begin()
            self._parts.clear()

    def put_off(self, id_: str) -> bool:
        """Keep a request that its server could not carry out, so that another one is asked.

        Returns:
            False if it was put off before, or is not unanswered.
        """
        if id_ not in self._asked or id_ in self._put_off:
            return False
        self._put_off.add(id_)
        return True

    def resolve(self, event: Event) -> bool:
        """Give an answer to whoever asked.

        Returns:
            True if that was all; False if the event is also for the inbox, as the refusal of a post is.
        """
        if event.kind not in _ANSWERS:
            return False
        if isinstance(event.detail, Members):
            if event.detail.more and event.id not in self._asked:
                return False
            if (whole := self._parts.join(event, event.detail)) is None:
                return True
            event = whole
        with self._lock:
            asked = self._asked.pop(event.id, None)
            if asked is None:
                return False
            self._put_off.discard(event.id)
            self._asked_bytes -= len(asked.piece)
            self._window.answered(len(asked.piece))
            if self._waiting:
                self._admit()
        if self._held_up or not self._asked:
            self._held_up = False
            self.queued.set()
            if not self._asked:
                self.all_answered.set()
        if asked.name and event.kind is Kind.ACK:
            self.name = asked.name
        if not asked.answer:
            self._flushes.answered(asked.number)
            return event.kind is not Kind.ERROR
        if not asked.answer.done():  # whoever asked may have given up since
            asked.answer.set_result(event)
        return True

    def flushed(self) -> asyncio.Future[None]:
        """A future that is done once every message posted so far is answered."""
        with self._lock:
            return self._flushes.begin(self._posted, self.unacknowledged)

    def fail(self, error: BcastError) -> None:
        """Raise ``error`` wherever an answer is awaited: none will come. Unanswered posts stay counted."""
        waiting: list[asyncio.Future[Any]] = [*self.answers, *self._flushes.clear()]
        with self._lock:
            self._asked = {id_: each for id_, each in self._asked.items() if not each.answer}
            self._waiting.clear()
            self._pieces.clear()
        self.all_answered.set()
        for future in waiting:
            if not future.done():
                future.set_exception(error)

    def _has_room(self, size: int) -> bool:
        """Whether there is room; a single request always has room, however large it is."""
        if not self._asked:
            return True
        return len(self._asked) < self._max_requests and self._asked_bytes + size <= self._max_bytes

    def _queue(self, id_: str, asked: _Asked) -> None:
        self._pieces.append(asked.piece)  # first: a Ctrl-C between these leaves nothing waiting that is never written
        self._asked_bytes += len(asked.piece)
        self._asked[id_] = asked
        self.all_answered.clear()

    def _admit(self) -> None:
        while self._waiting:
            id_, asked = next(iter(self._waiting.items()))
            if not self._has_room(len(asked.piece)):
                return
            del self._waiting[id_]
            self._queue(id_, asked)
            self.queued.set()

    def _give_up(self, id_: str, asked: _Asked) -> None:
        with self._lock:
            if self._waiting.get(id_) is asked:
                del self._waiting[id_]
                self._admit()

    def _encode(self, request: Request) -> tuple[str, bytes]:
        if not request.id:
            id_ = f"{self._prefix}.{next(self._numbers)}"
            request = Request(request.operacion, request.msg, request.data, id_)  # at half the cost of `_replace`
        piece = encode_request(request)
        if len(piece) > MAX_REQUEST_BYTES:  # it would end the call, for others' requests too
            reason = f"a request of {len(piece)} bytes is too large; it may have at most {MAX_REQUEST_BYTES} bytes"
            raise RequestError(ErrorCode.MESSAGE_TOO_LARGE, reason)
        return request.id, piece

    def _check_id(self, id_: str) -> None:
        if id_ in self._asked or id_ in self._waiting:
            raise ValueError(f"id: {id_!r} is in use by a request that is not answered yet")
