"""What is wrong with a file that says who may come in."""

from __future__ import annotations

from pathlib import Path


class Unusable(Exception):
    """A file cannot be used; the text names it and says what is wrong."""

    def __init__(self, path: Path | str, why: str) -> None:
        super().__init__(f"{path}: {why}")
