"""Classes and modules stay small enough to be read."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "bcast_grpc"
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
