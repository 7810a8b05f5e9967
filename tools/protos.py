"""Generate the stubs from ``protos/`` into the package, or check that the committed ones are up to date."""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "protos"


def main() -> int:
    """Generate or check; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the committed stubs are stale")
    if not parser.parse_args().check:
        generate(ROOT)
        return 0
    with tempfile.TemporaryDirectory() as fresh:
        generate(Path(fresh))
        stale = [path for path in stubs(Path(fresh)) if differs(Path(fresh), path)]
        stale += [path for path in stubs(ROOT) if not Path(fresh, path).exists()]
    for path in stale:
        print(f"{path} is stale: run 'make protos' and commit the result", file=sys.stderr)
    return 1 if stale else 0


def generate(target: Path) -> None:
    """Run protoc for every file under ``protos/``; stubs of services only for files that have some."""
    sources = sorted(SOURCES.rglob("*.proto"))
    with_services = [path for path in sources if "\nservice " in path.read_text()]
    includes = [f"-I{SOURCES}", f"-I{files('grpc_tools') / '_proto'}"]
    for kinds, paths in ((("python", "pyi"), sources), (("grpc_python",), with_services)):
        outputs = [f"--{kind}_out={target}" for kind in kinds]
        if code := protoc.main(["protoc", *includes, *outputs, *map(str, paths)]):
            sys.exit(code)


def stubs(root: Path) -> list[Path]:
    """Return the generated files below ``root``, relative to it."""
    return sorted(path.relative_to(root) for path in root.glob("bcast_grpc/**/v*/*_pb2*"))


def differs(fresh: Path, path: Path) -> bool:
    """Say whether the committed file is missing or not the one just generated."""
    committed = ROOT / path
    return not committed.exists() or committed.read_bytes() != (fresh / path).read_bytes()


if __name__ == "__main__":
    sys.exit(main())
