"""Files that say who may come in, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path


class Unusable(Exception):
    """A file cannot be used; the text names it and says what is wrong."""

    def __init__(self, path: Path | str, why: str) -> None:
        super().__init__(f"{path}: {why}")


def read_file(path: Path) -> bytes:
    """Read a file.

    Raises:
        Unusable: it cannot be read, or is not a regular file: a pipe could keep a reload waiting forever.
    """
    try:
        if path.is_fifo() or path.is_char_device() or path.is_socket():
            raise Unusable(path, "is not a regular file; the server must be able to read it again")
        return path.read_bytes()
    except OSError as error:
        raise Unusable(path, f"cannot read this file: {error.strerror or error}") from None
