"""Copies a log in NATS into a folder and back: JetStream's snapshots, in the form that the program ``nats`` has."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from nats.aio.msg import Msg

from bcast_grpc.broker.base import CannotOpen
from bcast_grpc.broker.nats.connection.connection import Connection
from bcast_grpc.broker.nats.connection.requests import Lost
from bcast_grpc.broker.sqlite.lineage import sync_directory
from bcast_grpc.store.cluster.log import Log, Refusal
from bcast_grpc.store.copy import CannotWrite

_CHUNK_BYTES = 64 * 1024
_QUIET_S = 30.0
_RESTORE_S = 120.0
_CONFIG, _DATA = "backup.json", "stream.tar.s2"
_NO_STREAM = 10059


async def save(log: Log, folder: Path, *, overwrite: bool = False) -> int:
    """Copy the stream as it is at one moment, while servers use it; return the size of the copy in bytes.

    The folder gets its name when it is complete and on the disk.

    Raises:
        CannotOpen: the stream cannot be read, or the folder may not be replaced.
        CannotWrite: the folder cannot be written, or the snapshot stopped.
    """
    folder = _place(folder, overwrite=overwrite)
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.mkdir(mode=0o700)
        await _Snapshot(log).write(partial)
        size = (partial / _DATA).stat().st_size
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
        sync_directory(folder.parent)
    except OSError as error:
        raise CannotWrite(f"{folder} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return size


def _place(folder: Path, *, overwrite: bool) -> Path:
    folder = Path(os.path.realpath(folder))
    if not folder.parent.is_dir():
        raise CannotOpen(f"{folder} cannot be written: the directory {folder.parent} does not exist")
    if folder.exists():
        if not (folder / _CONFIG).is_file():
            raise CannotOpen(f"{folder} exists already, and is no copy of a log; name another folder")
        if not overwrite:
            raise CannotOpen(f"{folder} exists already; --overwrite replaces it")
    return folder


class _Snapshot:
    """One snapshot, as its parts arrive. NATS sends further ones when earlier ones are acknowledged."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._came: asyncio.Queue[Msg] = asyncio.Queue()

    async def write(self, folder: Path) -> None:
        log = self._log
        inbox = f"_INBOX.{secrets.token_hex(11)}"
        with _losing(log):
            await log.connection.subscribe(inbox, self._came.put_nowait)
        try:
            body = {"deliver_subject": inbox, "no_consumers": True, "chunk_size": _CHUNK_BYTES, "jsck": True}
            try:
                answer = await log.ask("STREAM.SNAPSHOT", body)
            except Refusal as error:
                raise CannotOpen(f"the stream {log.shown} cannot be copied: {error}") from None
            digest = sha256()
            with (folder / _DATA).open("wb") as file:
                while part := await self._part():
                    digest.update(part)
                    await asyncio.to_thread(file.write, part)
                file.flush()
                os.fsync(file.fileno())
            described = {"config": answer["config"], "state": answer["state"], "sha256": digest.hexdigest()}
            _write(folder / _CONFIG, json.dumps(described).encode())
        finally:
            await log.connection.unsubscribe(inbox)

    async def _part(self) -> bytes:
        """Return the next part; nothing at the end."""
        try:
            async with asyncio.timeout(_QUIET_S):
                message = await self._came.get()
        except TimeoutError:
            raise CannotWrite(f"the copy of {self._log.shown} stopped: NATS sent nothing for {_QUIET_S:g} s") from None
        status = (message.headers or {}).get("Status", "")
        if not message.data and status not in ("", "204"):
            description = (message.headers or {}).get("Description", status)
            raise CannotWrite(f"the copy of {self._log.shown} stopped: {description}")
        if message.data and message.reply:
            with _losing(self._log):
                await self._log.connection.publish(message.reply, b"")
        return message.data


async def restore(log: Log, folder: Path, *, overwrite: bool = False) -> int:
    """Make the stream from a copy; return how many records it has. The caller begins new epochs then.

    Raises:
        CannotOpen: there is no such copy, it is damaged or of another cluster, a server runs, or the stream exists.
        CannotWrite: NATS did not take it.
    """
    try:
        described = json.loads((folder / _CONFIG).read_text())
        file = (folder / _DATA).open("rb")
    except (OSError, ValueError) as error:
        why = f"{_CONFIG} or {_DATA}: {getattr(error, 'strerror', None) or error}"
        raise CannotOpen(f"{folder} is no copy of a log: {why}") from None
    with file:
        name = described.get("config", {}).get("name")
        if name != log.names.stream:
            raise CannotOpen(f"{folder} is a copy of the stream {name}, not of {log.names.stream}: set cluster")
        found = await asyncio.to_thread(file_digest, file, "sha256")
        if described.get("sha256", found.hexdigest()) != found.hexdigest():  # the program ``nats`` writes none
            raise CannotOpen(f"{folder} is damaged: {_DATA} is not what was copied")
        file.seek(0)
        if running := await log.servers():
            raise CannotOpen(
                f"the stream {log.shown} is used by {', '.join(one.place for one in running)}; stop all servers first"
            )
        gone = "; the one that was there is gone" if await _make_way(log, overwrite=overwrite) else ""
        try:
            answer = await log.ask("STREAM.RESTORE", {"config": described["config"], "state": described["state"]})
            while part := await asyncio.to_thread(file.read, _CHUNK_BYTES):
                await _send(log.connection, answer["deliver_subject"], part)
            done = await _send(log.connection, answer["deliver_subject"], b"")
        except Refusal as error:
            raise CannotWrite(f"the stream {log.shown} cannot be restored: {error}{gone}") from None
        except Lost:
            raise CannotWrite(f"the stream {log.shown} was not restored: NATS did not answer in time{gone}") from None
    return int(done["state"]["messages"])


async def _make_way(log: Log, *, overwrite: bool) -> bool:
    """Remove the stream; return whether there was one."""
    try:
        await log.ask("STREAM.INFO", {})
    except Refusal as error:
        if error.code != _NO_STREAM:
            raise CannotOpen(f"the stream {log.shown} cannot be used: {error}") from None
        return False
    if not overwrite:
        raise CannotOpen(f"the stream {log.shown} exists already; stop all servers, then --overwrite replaces it")
    try:
        await log.ask("STREAM.DELETE", {})
    except Refusal as error:
        raise CannotWrite(f"the stream {log.shown} cannot be replaced: {error}") from None
    return True


async def _send(connection: Connection, subject: str, part: bytes) -> dict[str, Any]:
    answer = await connection.request(subject, part, _RESTORE_S)
    told: dict[str, Any] = json.loads(answer.data) if answer.data else {}
    if error := told.get("error"):
        raise Refusal(error)
    return told


def _write(file: Path, data: bytes) -> None:
    with file.open("wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())


class _losing:  # noqa: N801  # it reads as a verb
    """Says that NATS went away."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Lost):
            raise CannotWrite(f"the copy of {self._log.shown} stopped: the connection to NATS was lost") from None
