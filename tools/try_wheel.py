"""Install each distribution alone into a clean environment, and send a message through it.

Usage: ``python tools/try_wheel.py [FILE…]``. Without files, the wheel is built first.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Try the files that were named, or build a wheel and try that."""
    with tempfile.TemporaryDirectory() as scratch:
        for number, file in enumerate([Path(name).resolve() for name in sys.argv[1:]] or [build(scratch)]):
            try_one(file, Path(scratch, str(number)))


def build(scratch: str) -> Path:
    """Build the sdist, and from it the wheel."""
    run([sys.executable, "-m", "build", "--outdir", f"{scratch}/dist", str(ROOT)])
    (wheel,) = Path(scratch, "dist").glob("*.whl")
    return wheel


def try_one(file: Path, scratch: Path) -> None:
    """Install a wheel or an sdist into an environment of its own, and use it."""
    venv.create(scratch, with_pip=True)
    python = f"{scratch}/bin/python"
    run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(file)])
    send_a_message(python, str(scratch))
    print(f"{file.name}: installed and tried", flush=True)


def send_a_message(python: str, scratch: str) -> None:
    """Let one client of the installed package hear another."""
    server = subprocess.Popen(
        [python, "-m", "bcast_grpc.server", "--port", "0"], cwd=scratch, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout
    target = server.stdout.readline().strip().removeprefix("listening on ")
    client = [python, "-m", "bcast_grpc.client", target]
    try:
        listener = subprocess.Popen(
            [*client, "--name", "log", "--follow", "--json"],
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert listener.stdout
        welcome = listener.stdout.readline()  # it is in
        assert "EVENT_KIND_WELCOME" in welcome, welcome
        run([*client, "--name", "ana"], cwd=scratch, input="hola\n")
        while "ana: hola" not in (line := listener.stdout.readline()):
            assert line, "the message did not arrive"
        listener.terminate()  # else it would wait for the server to come back
        listener.wait(30)
    finally:
        server.terminate()
        assert server.wait(30) == 0


def run(command: list[str], cwd: str | None = None, **options: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, cwd=cwd, text=True, check=True, stdout=subprocess.DEVNULL, **options)  # type: ignore[call-overload]


if __name__ == "__main__":
    main()
