"""Each client as its README says. Not beside tests that run it: its tools may write anew what they have built."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from .conftest import Run, Serve
from .languages import BUILD_S, BUILDING, Language


async def test_the_readme(serve: Serve, run: Run, language: Language) -> None:
    """Its one command builds and runs the client."""
    server = await serve()
    bob = await run(language, server.grpc, name="bob")
    await bob.is_in()
    done = await asyncio.to_thread(
        subprocess.run,
        language.command(server.grpc),
        shell=True,
        cwd=language.folder,
        env=BUILDING,
        input=b"hola\n",
        capture_output=True,
        timeout=BUILD_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    await bob.hears("ana: hola")
    sys.stdout.write(done.stderr.decode())
