"""The client library without ``async``, for scripts and threads."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial, update_wrapper
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from bcast_grpc.client import fork
from bcast_grpc.client.background import BackgroundLoop, Work
from bcast_grpc.client.chat import Chat
from bcast_grpc.errors import ChatClosed
from bcast_grpc.events import Ack, Event, Member

P = ParamSpec("P")
T = TypeVar("T")


def _takes_arguments_of(
    constructor: Callable[P, object],
) -> Callable[[Callable[..., None]], Callable[Concatenate[Any, P], None]]:
    """Give ``__init__`` the signature of another class's, for type checkers and for ``help()``."""

    def decorate(init: Callable[..., None]) -> Callable[Concatenate[Any, P], None]:
        return update_wrapper(init, constructor.__init__, assigned=(), updated=())

    return decorate


class SyncChat:
    """A client in one room, from ``with`` to its end.

    ::

        with bcast_grpc.connect_sync("127.0.0.1:50051", name="ana", room="dev") as chat:
            chat.send("hola")
            for event in chat:
                print(event.message)

    It is a ``Chat`` that runs in a background thread. It takes the same arguments and makes the same promises.

    Any number of threads may use it at the same time; each event goes to one of those that iterate. A thread that runs
    an event loop should use ``connect()`` instead, because waiting here would stop the loop. Methods that wait take
    ``timeout_s`` and raise ``TimeoutError``; ``None`` means no limit. Ctrl-C interrupts any wait of the main thread,
    and no event is lost by it.
    """

    @_takes_arguments_of(Chat)
    def __init__(self, *target: Any, **options: Any) -> None:
        self._chat = _ThreadsChat(*target, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._ready: deque[Event] = deque()
        self._is_inherited = False

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            BcastError: as for ``Chat``.
        """
        fork.check()
        if self._loop is not None:
            raise RuntimeError("a chat can be entered only once; call connect_sync() again for another")
        fork.own(self)
        self._loop = _background.acquire()
        try:
            self._run(self._chat.__aenter__)
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the room; after an error, without waiting for anything."""
        if self._is_inherited:
            if kind is None:
                raise fork.not_ours()
            return
        try:
            self._run(partial(self._chat.__aexit__, kind, error, traceback))
        finally:
            self._release()

    def disown(self) -> None:
        """Refuse to work from now on: this is a forked process, and the chat is its parent's."""
        self._is_inherited = True
        self._ready.clear()

    @property
    def client(self) -> str:
        """The stable id of this client."""
        return self._chat.client

    @property
    def target(self) -> str:
        """The address of the server of the last connection; empty before the first."""
        return self._chat.target

    @property
    def session(self) -> str:
        """The public session id of the last connection."""
        return self._chat.session

    @property
    def room(self) -> str:
        """The name of the room."""
        return self._chat.room

    @property
    def epoch(self) -> str:
        """The epoch of the room's order."""
        return self._chat.epoch

    def send(
        self,
        text: str = "",
        *,
        data: bytes = b"",
        id: str = "",  # noqa: A002  # the contract's name
        timeout_s: float | None = None,
    ) -> Ack:
        """Send a message to all others in the room, and wait until it is acknowledged: see ``Chat.send()``."""
        return self._run(partial(self._chat.send, text, data=data, id=id), timeout_s)

    def post(self, text: str = "", *, data: bytes = b"", id: str = "") -> None:  # noqa: A002  # the contract's name
        """Send a message to all others in the room, without waiting for anything: see ``Chat.post()``."""
        self._chat.post(text, data=data, id=id)

    def flush(self, *, timeout_s: float | None = None) -> None:
        """Wait until every message posted so far is acknowledged or refused: see ``Chat.flush()``."""
        self._run(self._chat.flush, timeout_s)

    def rename(self, name: str, *, timeout_s: float | None = None) -> None:
        """Change the name that others see: see ``Chat.rename()``."""
        self._run(partial(self._chat.rename, name), timeout_s)

    def members(self, *, timeout_s: float | None = None) -> tuple[Member, ...]:
        """Ask who is in the room: see ``Chat.members()``."""
        return self._run(self._chat.members, timeout_s)

    def leave(self, *, timeout_s: float | None = None) -> None:
        """Leave the room: wait for all answers, then receive what is still on its way: see ``Chat.leave()``."""
        self._run(self._chat.leave, timeout_s)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        while True:
            try:
                return self._ready.popleft()
            except IndexError:
                pass
            # The other thread moves events there instead of returning them, so a Ctrl-C while we wait loses none.
            if not self._move():
                raise StopIteration

    def _move(self) -> bool:
        if self._is_inherited:
            raise fork.not_ours()
        if self._loop is None:
            return self._chat.move(self._ready)
        return self._run(partial(self._chat.wait_and_move, self._ready))

    def _run(self, start: Callable[[], Coroutine[Any, Any, T]], timeout_s: float | None = None) -> T:
        if self._is_inherited:
            raise fork.not_ours()
        with self._lock:
            if self._loop is None:
                raise ChatClosed
            work = Work(self._loop, start)
        try:
            return work.wait(timeout_s)
        finally:
            work.cancel()  # after a timeout or Ctrl-C nobody waits for it any more

    def _release(self) -> None:
        with self._lock:
            self._loop = None
        _background.release()


class _ThreadsChat(Chat):
    """A chat that several threads use. Everything but ``post`` runs in the thread of its event loop."""

    _loop: asyncio.AbstractEventLoop
    _waking = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return await super().__aenter__()

    async def wait_and_move(self, ready: deque[Event]) -> bool:
        """Wait for an event, then ``move``.

        More than one may wait: other threads, or one that Ctrl-C left behind. The first to wake moves all events.
        """
        connection = self._entered()
        self._dispatcher.taking()
        while not self._events and not ready and not connection.over:
            await self._dispatcher.change()
        return self.move(ready)

    def move(self, ready: deque[Event]) -> bool:
        """Move all events to ``ready``; False if there are none and the chat has ended."""
        connection = self._entered()
        ready.extend(self._events)
        self._events.clear()
        if not ready:
            connection.raise_error()
        return bool(ready) or not connection.over

    def _wake(self) -> None:
        if self._waking:  # one wake for many posts: it costs more than all the rest of a post
            return
        try:
            self._waking = True
            self._loop.call_soon_threadsafe(self._wake_now)
        except BaseException:  # Ctrl-C; or the loop has ended, since another thread has left
            self._waking = False
            raise

    def _wake_now(self) -> None:
        self._waking = False
        super()._wake()


_background = BackgroundLoop()

connect_sync = SyncChat
"""Connect to a server: ``with connect_sync("127.0.0.1:50051", name="ana") as chat``."""
