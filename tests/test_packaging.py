"""What the package declares is what it is: its dependencies, its checks, its workflows."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
OURS = {"bcast_grpc", "benchmarks", "interop", "tests", "tools"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = PROJECT["optional-dependencies"]
NAMESPACES = {"google.protobuf": "protobuf", "google.rpc": "googleapis-common-protos"}
"""Two distributions share the folder ``google``."""


def normal(name: str) -> str:
    """The name of a distribution in the one form in which they are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: Iterable[str]) -> set[str]:
    """The names that requirements begin with."""
    return {normal(re.split(r"[^\w.-]", requirement)[0]) for requirement in requirements}


def imported(folder: str) -> set[str]:
    """The modules that a folder imports, as far as they belong to other distributions."""
    found = set()
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(), file)):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
    return {module for module in found if module.split(".")[0] not in OURS | sys.stdlib_module_names}


distributions = cache(packages_distributions)
"""Reads what is installed once: that takes a third of a second."""


def owner_of(module: str) -> str:
    """The distribution that a module comes from, as this environment knows it."""
    for namespace, distribution in NAMESPACES.items():
        if f"{module}.".startswith(f"{namespace}."):
            return distribution
    top = module.split(".")[0]
    return normal((distributions().get(top) or [top])[0])


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("bcast_grpc", ["nats", "embedded"]),
        ("benchmarks", ["dev", "bench"]),
        ("interop", ["dev"]),
        ("tests", ["dev"]),
        ("tools", ["dev"]),
    ],
)
def test_what_is_imported_is_declared(folder: str, extras: list[str]) -> None:
    """A module that only comes along with another may be gone with that one's next version."""
    allowed = declared([*PROJECT["dependencies"], *(one for extra in extras for one in OPTIONAL[extra])])
    missing = {module: owner_of(module) for module in imported(folder) if owner_of(module) not in allowed}
    assert not missing, f"declare in pyproject.toml: {missing}"


def test_what_is_declared_is_imported() -> None:
    """What nobody uses any more is not installed either."""
    owners = {owner_of(module) for module in imported("bcast_grpc")}
    assert declared(PROJECT["dependencies"]) <= owners


def test_a_commit_is_checked_as_make_test_does() -> None:
    """pre-commit runs the targets that ``make test`` runs before the tests, on all files."""
    (targets,) = re.findall(r"^test: ([\w ]+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    hooks = (ROOT / ".pre-commit-config.yaml").read_text().split("- id: ")[1:]
    assert [re.findall(r"entry: (.+)", hook) for hook in hooks] == [[f"make {target}"] for target in targets.split()]
    assert all("pass_filenames: false" in hook and "always_run: true" in hook for hook in hooks)


def test_ci_tests_the_versions_of_python_that_are_declared() -> None:
    """No more and no less, from the oldest that is allowed."""
    (matrix,) = re.findall(r"python: \[(.+)\]", (ROOT / ".github/workflows/ci.yml").read_text())
    versions = [version.strip('"') for version in matrix.split(", ")]
    marked = [re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", one) for one in PROJECT["classifiers"]]
    assert versions == [match[1] for match in marked if match]
    assert PROJECT["requires-python"] == f">={versions[0]}"


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned(workflow: Path) -> None:
    """To a commit, with the version that it is: a tag may be moved by whoever takes the action over."""
    uses = re.findall(r"uses: (?!\./)(.+)", workflow.read_text())
    assert uses
    loose = [one for one in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)+", one)]
    assert not loose


def test_what_is_published_is_what_was_tried() -> None:
    """One build; the same files are tried, attested and published, and no job may write more than it has to."""
    text = (ROOT / ".github/workflows/release.yml").read_text()
    assert text.count("make build") == 1
    steps = ["make build", "try_wheel.py dist/*", "upload-artifact@", "attest-build-provenance@", "pypi-publish@"]
    assert [text.index(step) for step in steps] == sorted(text.index(step) for step in steps)
    assert "\npermissions: {}\n" in text
    assert "secrets." not in text
