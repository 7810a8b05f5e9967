"""Classes and modules stay small enough to be read, and tests wait for events."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "bcast_grpc"
MAX_METHODS = 18
MAX_LINES = 300


def test_no_class_of_the_core_has_many_methods() -> None:
    """A class with more has more than one idea."""
    counts = {
        f"{file.name}: {node.name}": sum(isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) for one in node.body)
        for file in (SOURCE / "core").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    assert {name: count for name, count in counts.items() if count > MAX_METHODS} == {}


def test_a_long_module_says_why() -> None:
    """Its docstring does."""
    long = {
        file.relative_to(SOURCE).as_posix(): ast.get_docstring(ast.parse(text)) or ""
        for file in SOURCE.rglob("*.py")
        if file.parent.name != "v1" and (text := file.read_text()).count("\n") > MAX_LINES
    }
    assert [name for name, docstring in long.items() if "This module is long" not in docstring] == []


def test_who_waits_for_a_time_says_why() -> None:
    """A test waits for an event. Where there is none, or the time is the matter, a comment there says so."""
    silent = []
    for file in [*(ROOT / "tests").rglob("*.py"), *(ROOT / "interop").rglob("*.py")]:
        lines = file.read_text().splitlines()
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("asyncio.sleep", "time.sleep"):
                passes = ast.unparse(node.args[0]) == "0"  # just a pass of the loop
                if not passes and "#" not in "".join(lines[node.lineno - 2 : node.lineno]):
                    silent.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert silent == []
