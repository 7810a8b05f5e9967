"""Reads what a server logs in to NATS with: the seed of an NKey, or a file with credentials (``.creds``)."""

from __future__ import annotations

import re
from collections import UserString
from contextlib import suppress
from pathlib import Path

from bcast_grpc.transport.address import CannotStart

_SEED = re.compile(r"^\s*(S[A-Z2-7]{57})\s*$", re.MULTILINE)
_JWT = re.compile(r"BEGIN NATS USER JWT-+\s+([\w-]+\.[\w-]+\.[\w-]+)\s+-+END")


def read_seed(file: Path, text: str = "") -> str:
    """Return the seed of a user that a file has; other lines are ignored.

    Raises:
        CannotStart: it has none.
    """
    found = _SEED.search(text or read_file(file))
    if found is None:
        raise CannotStart(f"{file}: has no seed of an NKey: a line of 58 capital letters and digits, beginning with SU")
    if not found[1].startswith("SU"):
        raise CannotStart(f"{file}: its seed is not of a user, whose seed begins with SU")
    return found[1]


class Credentials(UserString):
    """A user's JWT and seed, which are read from their file again for each connection: they may have been renewed.

    nats-py takes the path of the file as well, but would look for a JWT without end in a file that has none.

    Raises:
        CannotStart: the file cannot be used.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._last = self._read()

    @property
    def data(self) -> str:  # type: ignore[override]  # nats-py reads it
        """The JWT and the seed, in the form of the file."""
        with suppress(CannotStart):  # the file may be replaced at this very moment
            self._last = self._read()
        return self._last

    def _read(self) -> str:
        text = read_file(self._file)
        found = _JWT.search(text)
        if not found:
            raise CannotStart(f"{self._file}: is no credentials file (.creds): it has no NATS USER JWT")
        seed = read_seed(self._file, text)
        return f"BEGIN NATS USER JWT\n{found[1]}\nEND\nBEGIN USER NKEY SEED\n{seed}\nEND\n"


def read_file(file: Path) -> str:
    """Return a text file.

    Raises:
        CannotStart: it cannot be read.
    """
    try:
        return file.read_text()
    except (OSError, ValueError) as error:
        raise CannotStart(f"{file}: cannot be read: {error}") from None
