"""What was asked and is not answered yet, and the part of it that is not yet written. No I/O."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from dataclasses import dataclass
from itertools import count
from threading import Lock
from typing import Any, NamedTuple, TypeAlias

from bcast_grpc.errors import BacklogFull, BcastError, ErrorCode, RequestError
from bcast_grpc.events import Event, Kind, Request
from bcast_grpc.wire.protobuf import MAX_REQUEST_BYTES, encode_request

MAX_FRAME_BYTES = 256 * 1024
"""The largest frame of requests, a single larger request apart; the answers to a larger one would come no sooner."""

Answer: TypeAlias = "asyncio.Future[Event]"

_ANSWERS = frozenset({Kind.ACK, Kind.ERROR, Kind.MEMBERS})


class _Post(NamedTuple):
    number: int
    size: int


@dataclass(slots=True)
class _Flush:
    """Somebody waits for the posts up to number ``last``, ``missing`` of which have no answer."""

    last: int
    missing: int
    done: asyncio.Future[None]


class Backlog:
    """The requests of one chat.

    ``post`` and ``take`` may be called from any thread, the rest only where the event loop runs.

    Args:
        max_posts: how many posts may be without an answer.
        max_bytes: how many bytes of them, as they are on the wire.
    """

    def __init__(self, max_posts: int, max_bytes: int) -> None:
        if max_posts < 1:
            raise ValueError(f"max_posts: {max_posts} does not fit; it takes 1 or more")
        self._max_posts = max_posts
        self._max_bytes = max_bytes
        # Ids are remembered by the server for all that a stable client id sends: two chats must not choose the same.
        self._prefix = secrets.token_urlsafe(6)
        self._numbers = count(1)
        self._lock = Lock()
        self._pieces: deque[bytes] = deque()
        self._answers: dict[str, Answer] = {}
        self._posts: dict[str, _Post] = {}
        self._posted = 0
        self._posted_bytes = 0
        self._flushes: list[_Flush] = []

    @property
    def unanswered(self) -> bool:
        """Whether the server owes an answer."""
        return bool(self._answers or self._posts)

    @property
    def answers(self) -> list[Answer]:
        """The answers that are awaited by those who asked."""
        return list(self._answers.values())

    @property
    def unacknowledged(self) -> int:
        """How many posts have no answer."""
        return len(self._posts)

    def ask(self, request: Request) -> Answer:
        """Queue a request; the server's answer is the future's result.

        Raises:
            ValueError: its id is in use by a request without an answer.
            RequestError: it is too large to be sent at all.
        """
        id_, piece = self._encode(request)
        answer: Answer = asyncio.get_running_loop().create_future()
        with self._lock:
            self._check_id(id_)
            self._answers[id_] = answer
            self._pieces.append(piece)
        return answer

    def post(self, request: Request) -> None:
        """Queue a request that nobody waits for.

        Raises:
            BacklogFull: a bound would be exceeded.
            ValueError: its id is in use by a request without an answer.
            RequestError: it is too large to be sent at all.
        """
        id_, piece = self._encode(request)
        with self._lock:
            self._check_id(id_)
            if len(self._posts) >= self._max_posts:
                raise BacklogFull(
                    f"{len(self._posts)} posts are not acknowledged, and no more may be; wait for flush()"
                )
            if self._posts and self._posted_bytes + len(piece) > self._max_bytes:
                raise BacklogFull(
                    f"posts of {self._posted_bytes} bytes are not acknowledged, "
                    f"and no more than {self._max_bytes} may be; wait for flush()"
                )
            self._pieces.append(piece)  # first: a Ctrl-C between these leaves no post waiting that is never written
            self._posted += 1
            self._posts[id_] = _Post(self._posted, len(piece))
            self._posted_bytes += len(piece)

    def take(self) -> bytes:
        """Take what is to be written next, as one frame; nothing if there is nothing."""
        with self._lock:
            pieces, size = [], 0
            while self._pieces and (not size or size + len(self._pieces[0]) <= MAX_FRAME_BYTES):
                piece = self._pieces.popleft()
                pieces.append(piece)
                size += len(piece)
        return b"".join(pieces)

    def settle(self, event: Event) -> bool:
        """Give an event to whoever asked for it.

        Returns:
            True if that was all that it was for; False if it is of interest to others, as the refusal of a post is.
        """
        if event.kind not in _ANSWERS:
            return False
        if answer := self._answers.pop(event.id, None):
            if not answer.done():  # whoever asked may have given up since
                answer.set_result(event)
            return True
        with self._lock:
            post = self._posts.pop(event.id, None)
            if post is None:
                return False
            self._posted_bytes -= post.size
        self._count_down(post.number)
        return event.kind is not Kind.ERROR

    def flushed(self) -> asyncio.Future[None]:
        """A future that is done once all that was posted until now is answered."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._posts:
                self._flushes.append(_Flush(self._posted, len(self._posts), done))
            else:
                done.set_result(None)
        return done

    def fail(self, error: BcastError) -> None:
        """Tell all who wait that no more answers will come; posts without an answer stay counted."""
        waiting: list[asyncio.Future[Any]] = [*self._answers.values(), *(flush.done for flush in self._flushes)]
        self._answers.clear()
        self._flushes.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(error)

    def _encode(self, request: Request) -> tuple[str, bytes]:
        if not request.id:
            id_ = f"{self._prefix}.{next(self._numbers)}"
            request = Request(request.operacion, request.msg, request.data, id_)  # at half the cost of `_replace`
        piece = encode_request(request)
        if len(piece) > MAX_REQUEST_BYTES:  # it would end the call, for others' requests too
            reason = f"a request of {len(piece)} bytes; it takes at most {MAX_REQUEST_BYTES}"
            raise RequestError(ErrorCode.MESSAGE_TOO_LARGE, reason)
        return request.id, piece

    def _check_id(self, id_: str) -> None:
        if id_ in self._answers or id_ in self._posts:
            raise ValueError(f"id: {id_!r} is in use by a request that is not answered yet")

    def _count_down(self, number: int) -> None:
        for flush in self._flushes:
            if number <= flush.last:
                flush.missing -= 1
                if not flush.missing and not flush.done.done():
                    flush.done.set_result(None)
        if self._flushes:
            self._flushes = [flush for flush in self._flushes if flush.missing]
