"""Imports go one way through the house."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = "bcast_grpc"
SOURCE = Path(__file__).parent.parent / PACKAGE

MAY_IMPORT = {
    # What users import, found when it is used.
    "__init__": {"errors", "events", "client", "settings", "server", "transport.address"},
    "errors": set(),
    "events": {"errors"},
    "origins": set(),
    "event_loop": set(),
    "settings": {"errors", "origins"},
    "v1": set(),
    "log": set(),
    "http2": set(),
    "broker": {"__init__", "errors", "events", "log"},
    "wire": {"errors", "events", "v1"},
    "core": {"errors", "events", "broker.base", "broker.budget", "broker.history"},
    "presence": {"events", "log", "core", "broker.base", "broker.nats.peers"},
    "auth": {"errors", "core"},
    "token": {"__init__", "auth"},
    "transport": {"errors", "events", "origins", "core", "wire", "http2"},
    "server": {
        "__init__",
        "errors",
        "events",
        "settings",
        "event_loop",
        "auth",
        "broker",
        "core",
        "presence",
        "wire",
        "transport",
        "v1",
    },
    "client": {"__init__", "errors", "events", "wire", "v1"},
    "store": {"__init__", "errors", "events", "settings", "broker", "log", "server", "transport.address"},
    "console": {"errors", "client"},
    "terminal": {"__init__", "errors", "events", "wire", "client", "console"},
    "bench": {"__init__", "errors", "events", "event_loop", "wire", "v1", "client", "console"},
}
"""What each part may import of the others.

Errors, events ← broker, wire, core ← transport ← server; client ← console ← terminal, bench.
"""

INSIDE_OF = {
    "broker.nats": {
        "names": set(),
        "log": set(),
        "connection": set(),
        "cluster": {"connection"},
        "jetstream": {"names", "log", "connection", "cluster"},
        "peers": {"names", "log", "connection"},
        "alarms": set(),
        "unanswered": set(),
        "tasks": set(),
        "services": {"alarms", "jetstream", "log", "peers"},
        "order": {"services", "unanswered", "jetstream", "log"},
        "orders": {"order", "names"},
    },
    "server": {
        "machine": set(),
        "processes": set(),
        "share": set(),
        "addresses": set(),
        "embedded": {"processes"},
        "nats_keys": set(),
        "shared_store": {"embedded", "nats_keys"},
    },
}
"""What some parts of a large folder may import of it. Those that are not listed put these together."""

ENTRANCES = {Path("client", "__main__.py"): "terminal"}
"""What stands in one folder and belongs to another part: ``python -m bcast_grpc.client`` runs the terminal program."""

OUTSIDE_THE_CORE = {
    "aiohttp", "asyncio", "google", "grpc", "grpc_health", "grpc_reflection", "grpc_status", "io", "os", "pathlib",
    "select", "selectors", "shutil", "signal", "socket", "socketserver", "ssl", "subprocess", "tempfile", "uvloop",
}  # fmt: skip
"""No gRPC, no protobuf, no event loop, no sockets, no files."""


class Import(NamedTuple):
    """One import: where it stands, and what it names."""

    file: Path
    line: int
    module: str

    @property
    def place(self) -> str:
        """Where a person finds it."""
        return f"{self.file.relative_to(SOURCE.parent)}:{self.line}: imports {self.module}"


def part_of(file: Path) -> str:
    """The part of the house that a file belongs to: a folder of the package, or a module at its top."""
    inside = file.relative_to(SOURCE)
    if inside in ENTRANCES:
        return ENTRANCES[inside]
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imports_of(file: Path) -> Iterator[Import]:
    """Every import in a file, also those in functions and for type checkers."""
    package = [PACKAGE, *file.relative_to(SOURCE).parent.parts]
    for node in ast.walk(ast.parse(file.read_text(), file)):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Import(file, node.lineno, name.name)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            for name in node.names:
                inside = SOURCE.parent.joinpath(*module.split("."), name.name)
                is_module = inside.is_dir() or inside.with_suffix(".py").is_file()
                yield Import(file, node.lineno, f"{module}.{name.name}" if is_module else module)


FILES = sorted(SOURCE.rglob("*.py"))
IMPORTS = [one for file in FILES for one in imports_of(file)]
INSIDE = [one for one in IMPORTS if one.module.split(".")[0] == PACKAGE]


def target_of(one: Import) -> str:
    """What of the house is imported, without the package's name; ``__init__`` is the package itself."""
    return one.module.removeprefix(PACKAGE).removeprefix(".") or "__init__"


def is_allowed(part: str, target: str) -> bool:
    """Whether a part may import a module."""
    allowed = MAY_IMPORT[part] | {part}
    return any(target == one or target.startswith(f"{one}.") for one in allowed)


def test_every_part_of_the_house_has_its_place() -> None:
    """A new module at the top, or a new folder, must be placed: add it to ``MAY_IMPORT``, with what it may import."""
    parts = {part_of(file) for file in FILES}
    unknown = parts - MAY_IMPORT.keys()
    assert not unknown, f"{', '.join(sorted(unknown))}: not in MAY_IMPORT of {__file__}; place it in the house there"
    assert not MAY_IMPORT.keys() - parts, "MAY_IMPORT knows parts that are gone"


def test_imports_go_one_way() -> None:
    """Nothing imports what stands above or beside it."""
    wrong = [
        one.place
        for one in INSIDE
        if part_of(one.file) in MAY_IMPORT and not is_allowed(part_of(one.file), target_of(one))
    ]
    assert not wrong, "\n".join(wrong)


def test_the_core_knows_no_wire_no_loop_and_no_files() -> None:
    """Not even for type checkers; and it opens nothing."""
    core = [file for file in FILES if part_of(file) == "core"]
    wrong = [one.place for one in IMPORTS if one.file in core and one.module.split(".")[0] in OUTSIDE_THE_CORE]
    for file in core:
        wrong += [
            f"{file}:{node.lineno}: opens a file"
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Name) and node.id == "open"
        ]
    assert core
    assert not wrong, "\n".join(wrong)


def test_http2_does_no_io_and_knows_no_loop() -> None:
    """Bytes in, events out, bytes out; and no thread."""
    layer = [file for file in FILES if part_of(file) == "http2"]
    outside = OUTSIDE_THE_CORE | {"threading", "time"}
    assert layer
    assert not [one.place for one in IMPORTS if one.file in layer and one.module.split(".")[0] in outside]


def test_the_log_of_a_room_does_no_io_and_knows_no_loop() -> None:
    """Records in, actions out; protobuf is only how they are encoded."""
    layer = [file for file in FILES if file.parent == SOURCE / "broker" / "nats" / "log"]
    outside = OUTSIDE_THE_CORE - {"google"} | {"nats", "threading", "time"}
    assert layer
    assert not [one.place for one in IMPORTS if one.file in layer and one.module.split(".")[0] in outside]


@pytest.mark.parametrize("folder", INSIDE_OF)
def test_imports_go_one_way_inside_of(folder: str) -> None:
    """What a large folder is made of stands on what is listed for it, and on nothing else of that folder."""
    parts = INSIDE_OF[folder]
    place = SOURCE.joinpath(*folder.split("."))
    assert not {part for part in parts if not (place / part).is_dir() and not (place / f"{part}.py").is_file()}
    wrong = []
    for one in INSIDE:
        if one.file.is_relative_to(place) and target_of(one).startswith(f"{folder}."):
            part = one.file.relative_to(place).parts[0].removesuffix(".py")
            target = target_of(one).removeprefix(f"{folder}.").split(".")[0]
            if part in parts and target not in parts[part] | {part}:
                wrong.append(one.place)
    assert not wrong, "\n".join(wrong)


def test_the_core_has_one_lock() -> None:
    """The hub's. All else runs in one loop, and knows of no threads."""
    core = [file for file in FILES if part_of(file) == "core"]
    threaded = {one.file.name for one in IMPORTS if one.file in core and one.module.split(".")[0] == "threading"}
    assert threaded == {"hub.py"}
    assert (SOURCE / "core" / "hub.py").read_text().count("Lock()") == 1


def test_nothing_is_imported_by_name_behind_our_back() -> None:
    """Only the package itself imports by name, what it lists; elsewhere this page would not see it."""
    wrong = [
        one.place for one in IMPORTS if one.module.split(".")[0] == "importlib" and part_of(one.file) != "__init__"
    ]
    for file in FILES:
        wrong += [
            f"{file}:{node.lineno}: __import__"
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Name) and node.id == "__import__"
        ]
    assert not wrong, "\n".join(wrong)


def test_the_design_draws_every_import() -> None:
    """And no arrow that is not allowed; ``errors`` and ``events``, which every part may import, are not drawn."""
    design = (SOURCE.parent / "docs" / "design.md").read_text()
    chart = design.split("flowchart TB\n")[1].split("```")[0]
    arrows = re.findall(r"^ +(\w+)(?:\[.*\])? (?:-->|-\. .* \.->) (.+)$", chart, re.MULTILINE)
    drawn = {(part, target) for part, targets in arrows for target in targets.split(" & ")}
    undrawn = {"errors", "events", "__init__"}
    real = {(part_of(one.file), target_of(one).split(".")[0]) for one in INSIDE}
    real = {(part, target) for part, target in real if part != target and not {part, target} & undrawn}
    allowed = {(part, target.split(".")[0]) for part, targets in MAY_IMPORT.items() for target in targets}
    assert real <= drawn, f"not drawn in docs/design.md: {sorted(real - drawn)}"
    assert drawn <= allowed, f"drawn in docs/design.md, and not allowed: {sorted(drawn - allowed)}"


def test_parts_are_no_circle() -> None:
    """There is an order of the parts in which each stands on earlier ones only."""
    left = {part: {one.split(".")[0] for one in allowed} for part, allowed in MAY_IMPORT.items() if part != "__init__"}
    while left:
        ready = [part for part, needs in left.items() if not needs - {"__init__", part} & left.keys()]
        assert ready, f"a circle among {', '.join(left)}"
        for part in ready:
            del left[part]


def test_the_rules_have_teeth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports in functions, for type checkers, relative ones and those of submodules are all seen."""
    source = tmp_path / PACKAGE
    (source / "core").mkdir(parents=True)
    (source / "broker").mkdir()
    (source / "broker" / "memory.py").write_text("")
    file = source / "core" / "bad.py"
    file.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from bcast_grpc.wire import protobuf\n"
        "def f():\n    import bcast_grpc.transport.grpcio_door\n"
        "from ..broker import memory\nfrom .. import client\nfrom . import room\nimport bcast_grpc.broker.base\n"
        "from bcast_grpc import Event\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "SOURCE", source)
    targets = [target_of(one) for one in imports_of(file) if one.module.startswith(PACKAGE)]
    assert sorted(target for target in targets if not is_allowed("core", target)) == [
        "__init__", "__init__", "broker.memory", "transport.grpcio_door", "wire",
    ]  # fmt: skip
    assert part_of(file) == "core"
    assert is_allowed("core", "broker.base")


@pytest.mark.parametrize(
    ("module", "unneeded"),
    [
        ("bcast_grpc.server", ["bcast_grpc.client", "prompt_toolkit"]),
        ("bcast_grpc", ["grpc", "google.protobuf", "bcast_grpc.client", "bcast_grpc.core"]),
        ("bcast_grpc.core.session", ["grpc", "google.protobuf", "asyncio", "socket"]),
    ],
)
def test_what_is_not_needed_is_not_loaded(module: str, unneeded: list[str]) -> None:
    """A server runs without what only the client needs, and the core without any wire."""
    code = f"import sys, {module}; print([name for name in {unneeded!r} if name in sys.modules])"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}  # it loads a lot
    run = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
