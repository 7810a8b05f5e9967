"""The languages, as ``languages.toml`` has them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parent.parent
BUILD_S = 900
ADDRESS = "127.0.0.1:50051"
BUILDING = os.environ | {"CARGO_PROFILE_RELEASE_OPT_LEVEL": "0"}
"""The environment of what builds programs. Rust takes more time to optimize one than for all else, for no test."""


@dataclass(frozen=True)
class Source:
    """What a program is made of.

    Attributes:
        folder: where the commands are run.
        build: commands that make the program.
        run: the command that runs it, without arguments.
    """

    folder: Path
    build: list[str]
    run: list[str]

    @cached_property
    def fault(self) -> str:
        """Build the program, once; what went wrong, if anything did."""
        for command in self.build:
            if text := shell(command, self.folder):
                return f"{self.folder.relative_to(ROOT)}: {command}\n{text}"
        return ""


@dataclass(frozen=True)
class Language(Source):
    """A language, and the client that is written in it.

    Attributes:
        name: also that of its folder.
        needs: the tools that must be there.
        secure: whether its client speaks TLS and presents tokens.
        driver: the program that makes single calls, built after the client; None if there is none.
    """

    name: str
    needs: list[str]
    secure: bool
    driver: Source | None

    @classmethod
    def of(cls, name: str, entry: dict[str, Any]) -> Self:
        """Return the language of an entry in the table."""
        made = entry.pop("driver", None)
        driver = made and Source(ROOT / "interop" / "drivers" / name, **made)
        secure = entry.pop("secure", False)
        return cls(folder=ROOT / "examples" / name, name=name, secure=secure, driver=driver, **entry)

    @property
    def sources(self) -> list[Source]:
        """The client and the driver, in the order in which they are built."""
        return [self, *([self.driver] if self.driver else [])]

    @property
    def missing(self) -> list[str]:
        """Which tools are missing."""
        return [tool for tool in self.needs if not shutil.which(tool)]

    @property
    def needed(self) -> str:
        """What is missing, as text."""
        return f"{self.name} needs {', '.join(self.missing)}"

    def command(self, address: str) -> str:
        """Return the one command in its README that builds and runs it, for another address."""
        readme = (self.folder / "README.md").read_text()
        commands = re.findall(r"^```sh\n(.+?)^```", readme, re.MULTILINE | re.DOTALL)
        assert len(commands) == 1, f"{self.name}: its README has {len(commands)} commands to run it"
        assert ADDRESS in commands[0], f"{self.name}: the command in its README does not connect to {ADDRESS}"
        return str(commands[0]).replace(ADDRESS, address)


def build(some: Iterable[Language]) -> dict[str, str]:
    """Build all languages that can be built here, at the same time.

    Returns:
        What went wrong, by folder.
    """

    def built(language: Language) -> dict[str, str]:
        return {str(source.folder): source.fault for source in language.sources if not language.missing}

    with ThreadPoolExecutor() as pool:
        return {folder: fault for faults in pool.map(built, some) for folder, fault in faults.items()}


def take(some: Iterable[Language], faults: Mapping[str, str]) -> None:
    """Do not build what another process has built."""
    for language in some:
        for source in language.sources:
            if (folder := str(source.folder)) in faults:
                vars(source)["fault"] = faults[folder]  # where ``cached_property`` keeps it


def shell(command: str, folder: Path) -> str:
    """Run a command; return what it said if it failed."""
    try:
        done = subprocess.run(
            shlex.split(command),
            cwd=folder,
            env=BUILDING,
            capture_output=True,
            text=True,
            timeout=BUILD_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not done after {BUILD_S} s"
    except OSError as error:
        return f"{error}"
    return "" if done.returncode == 0 else f"exit code {done.returncode}\n{done.stdout}{done.stderr}"


def load() -> list[Language]:
    """Return all of them."""
    table = tomllib.loads((Path(__file__).parent / "languages.toml").read_text())
    return [Language.of(name, entry) for name, entry in table.items()]
