"""Runs a NATS server for this server alone."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import NoReturn

from bcast_grpc.server.embedded.folder import USER, Folder
from bcast_grpc.server.embedded.program import find
from bcast_grpc.server.processes import LOOK_S, Backoff, Watchdog, outlast, say_how, when_ended
from bcast_grpc.settings import EMBEDDED, Settings
from bcast_grpc.transport.address import CannotStart

logger = logging.getLogger(__name__)

_LOOK_S = 0.05
_TELL_S = 10.0
_ANSWER_S = 2.0
_END_S = 10.0
_LAST_WORDS_S = 2.0
_LEAST_PAYLOAD = 2**20
_PAYLOAD_RESERVE = 64 * 2**10
_ROOM_BYTES = 4 * 2**20
_CANNOT_WRITE = re.compile("critical write error", re.IGNORECASE)
_LINE = re.compile(r"\[\d+\] \[(\w+)\] (.*)")
_TIED = str(Path(__file__).with_name("tied.py"))


class EmbeddedNats:
    """A NATS server on a free loopback port, with JetStream, a password of its own, and a folder.

    It is started again when it ends, hangs, or could not write to its disk and there is room again; and it ends when
    this process does. Only this user can read its password.

    Args:
        settings: ``store`` says which folder, or none for one that is removed at the end.

    Raises:
        CannotStart: there is no program, or the folder cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._program = find(settings.store)
        path = settings.store.removeprefix(EMBEDDED).removeprefix(":")
        self._folder = Folder(Path(path) if path else None)
        self._reserved = socket.socket()
        weakref.finalize(self, self._reserved.close)  # if it is never started
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self._port: int = self._reserved.getsockname()[1]
        self._folder.write(self._port, max(_LEAST_PAYLOAD, settings.max_message_bytes + _PAYLOAD_RESERVE))
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._last_error = self._told_error = ""
        self._cannot_write = False  # nor will it, whatever room there is, until it is started again
        self._log: threading.Thread | None = None
        self._keeping: asyncio.Task[None] | None = None

    def used_by(self, settings: Settings) -> Settings:
        """Return the settings of a server that uses it."""
        return settings.model_copy(
            update={
                "store": f"nats://127.0.0.1:{self._port}",
                "store_user": USER,
                "store_password_file": self._folder.password,
                "store_create": "update",  # it has no other users, who might want other limits
            }
        )

    async def start(self) -> None:
        """Start it, and wait until it serves; as long as it takes to read its folder.

        Raises:
            CannotStart: it ends instead.
        """
        try:
            ended = self._spawn()
        except OSError as error:
            raise CannotStart(f"{self._program} cannot be started: {error.strerror}") from None
        if not await self._serves(ended):
            raise CannotStart(f"nats-server {await self._how(ended)}")
        logger.info("nats-server runs at 127.0.0.1:%d, in %s", self._port, self._folder.path)
        self._keeping = asyncio.create_task(self._keep(ended))

    async def stop(self) -> None:
        """End it, and give up its folder. May be called again, or before ``start``."""
        if self._keeping:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        process, self._process = self._process, None
        if process:
            ended = when_ended(process)
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(asyncio.shield(ended), _END_S)
            except TimeoutError:
                logger.warning("nats-server does not end, and is killed")
                process.kill()
                await ended
        self._reserved.close()
        self._folder.close()

    def _spawn(self) -> asyncio.Future[int]:
        """Start the program; return a future with its exit code.

        Its port is reserved by a socket that does not listen. While that may be shared, as only now, NATS can bind it.
        """
        if sys.platform == "linux":
            self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            self._reserved.close()
        self._last_error = ""
        self._cannot_write = False
        self._began = time.monotonic()
        command = [self._program, "-c", str(self._folder.configuration)]
        process = self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", _TIED, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[self._folder.lock],
            start_new_session=True,  # Ctrl-C is for this process, which ends NATS last
        )
        self._log = threading.Thread(target=self._read_log, args=(process,), name="nats-server's log", daemon=True)
        self._log.start()
        return when_ended(process)

    async def _serves(self, ended: asyncio.Future[int]) -> bool:
        """Wait until NATS answers; return False if it ends instead."""
        told = False
        while not ended.done():
            if await self._answers():
                if sys.platform == "linux":
                    self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
                return True
            if not told and time.monotonic() - self._began > _TELL_S:
                told = True
                logger.info("nats-server is still reading %s", self._folder.path)
            await asyncio.wait([ended], timeout=_LOOK_S)
        return False

    async def _answers(self) -> bool | None:
        """Whether it answers; None if nobody can know, since no socket can be opened."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    return (await reader.readline()).startswith(b"INFO ")
                finally:
                    writer.close()
        except OSError as error:
            return False if isinstance(error, ConnectionError | TimeoutError) else None

    async def _keep(self, ended: asyncio.Future[int]) -> None:
        """Start it again whenever it ends, or hangs."""
        backoff = Backoff()
        told = ""
        while True:
            await self._watch(ended)
            how = await self._how(ended)
            wait_s = backoff.next_s(time.monotonic() - self._began)
            if how != told:
                told = how
                logger.error("nats-server %s; it is started again in %.1f s", how, wait_s)
            await asyncio.sleep(wait_s)
            try:
                ended = self._spawn()
            except OSError as error:
                self._last_error = f"{self._program}: {error.strerror}"
                continue
            if await self._serves(ended):
                told = self._told_error = ""
                logger.info("nats-server serves again")

    async def _watch(self, ended: asyncio.Future[int]) -> None:
        """Wait until it has ended; kill it if it hangs."""
        assert self._process
        watchdog = Watchdog()
        asking = asyncio.create_task(self._ask(watchdog))
        try:
            if await outlast(self._process, ended, watchdog):
                self._last_error = f"it has not answered for {watchdog.patience_s:g} s"
        finally:
            asking.cancel()

    async def _ask(self, watchdog: Watchdog) -> NoReturn:
        while True:
            if await self._answers() is not False:
                watchdog.hear()
            if self._cannot_write and self._process and self._folder.free_bytes >= _ROOM_BYTES:
                self._last_error = "it could not write to its disk, and there is room again"
                self._process.terminate()
            await asyncio.sleep(LOOK_S)

    async def _how(self, ended: asyncio.Future[int]) -> str:
        """Wait until it has ended; return how, and the last error in its log."""
        how = say_how(await asyncio.shield(ended))
        if self._log:
            await asyncio.to_thread(self._log.join, _LAST_WORDS_S)
        return f"{how}: {self._last_error}" if self._last_error else how

    def _read_log(self, process: subprocess.Popen[bytes]) -> None:
        """Pass its log on, in a thread; remember the last error."""
        assert process.stderr
        with process.stderr:
            for line in process.stderr:
                parsed = _LINE.match(line.decode(errors="replace").rstrip())
                level, text = parsed.groups() if parsed else ("", line.decode(errors="replace").rstrip())
                is_error = level in ("ERR", "FTL") or (not parsed and text.startswith("nats-server:"))
                self._cannot_write |= bool(_CANNOT_WRITE.search(text))
                is_new = is_error and text != self._told_error
                if is_error:
                    self._last_error = self._told_error = text
                logger.log(logging.WARNING if is_new else logging.DEBUG, "nats-server: %s", text)
