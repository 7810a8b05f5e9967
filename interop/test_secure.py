"""Every language over TLS and with tokens: in one room, renewed, refused, and where a server is not trusted."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from tests import tokens
from tests.authority import Authority

from .conftest import Run, Serve
from .languages import Language
from .matrix import Matrix
from .program import Program

ROOM = "salón seguro"

_UNKNOWN = "issuer|authority|verify the first certificate|certification path"
WHY = {
    "expired": "expired",
    "another name": "name|not localhost",
    "another authority": _UNKNOWN,
    "none of the system's": _UNKNOWN,
}
"""What is wrong with a server's certificate, and how libraries say that; of these gRPC for C++ says the name alone."""


class Guarded(NamedTuple):
    """A server that asks each client for a certificate and a token.

    Attributes:
        address: of gRPC, without a scheme.
        trusting: the options of a client that trusts it, and shows a certificate.
    """

    address: str
    trusting: Sequence[str]


@pytest.fixture
async def guarded(serve: Serve, tmp_path: Path) -> Guarded:
    """Start one."""
    authority = Authority(tmp_path)
    settings = [*authority.sign("server").flags, "--tls-client-ca", str(authority.file)]
    settings += ["--token-keys", str(tokens.key_file(tmp_path)), "--token-audience", tokens.AUDIENCE]
    server = await serve(*settings)
    client = authority.sign("client", "one.example")
    key = load_pem_private_key(client.key.read_bytes(), None)
    client.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))  # Java takes no other
    address = server.grpc.replace("127.0.0.1", "localhost")  # to Node, an address is no name of a server
    return Guarded(address, ["--tls-ca", str(authority.file), *client.flags])


def token(who: str, rights: Sequence[str], lasts_s: float, name: str = "") -> str:
    """Return a token for the room."""
    claim = {"rooms": {ROOM: rights}} | ({"name": name} if name else {})
    return tokens.token(sub=who, exp=time.time() + lasts_s, bcast=claim)


async def test_a_room(guarded: Guarded, secure: Sequence[Language], run: Run, tmp_path: Path, matrix: Matrix) -> None:
    """A token that has expired is read again, and so is one that is going to: renewed, all hear all."""

    def put(name: str, content: str) -> Path:
        (tmp_path / "new").write_text(content + "\n")
        return (tmp_path / "new").replace(tmp_path / name)  # at once, as nobody is to read half of it

    async def enter(language: Language, name: str, first: str) -> Program:
        options = [*guarded.trusting, "--token-file", str(put(name, first))]
        return await run(language, f"grpcs://{guarded.address}", name=name, room=ROOM, options=options)

    witness = await enter(secure[0], "witness", token("witness", ["join", "who"], 600))
    await witness.is_in()
    programs = [await enter(language, language.name, token(language.name, ["join"], -60)) for language in secure]
    for program in programs:
        await program.complains()
        put(program.name, token(program.name, ["join", "who"], 25))
    for program in programs:
        await program.until(lambda program=program: program.of_kind("EXPIRING"), "warning")  # type: ignore[misc]
        put(program.name, token(program.name, ["join", "send"], 600, f"{program.name} renewed"))

    async def speak(program: Program) -> None:
        await witness.hears(f"{program.name} is now {program.name} renewed")
        await program.say({"msg": "hola", "id": "hola"})
        await program.is_answered("hola")
        assert len(program.of_kind("WELCOME")) == 1
        assert all("expired" in line for line in program.err)

    async def hear(program: Program) -> None:
        for other in programs:
            if other is not program:
                await program.hears(f"{other.name} renewed: hola")

    await matrix.each("renewed", programs, speak)
    await matrix.each("over TLS", [*programs, witness], hear)


async def test_not_let_in(guarded: Guarded, secure: Sequence[Language], run: Run, matrix: Matrix) -> None:
    """A wrong token, or one that has expired and cannot be read again: one line, and 77."""

    async def check(program: Program) -> None:
        assert await program.end() == 77
        assert len(program.err) == 1
        assert "token" in program.err[0]

    for what in ("no.such.token", token("ana", ["join"], -60)):
        programs = [
            await run(language, guarded.address, options=guarded.trusting, environ={"BCAST_TOKEN": what})
            for language in secure
        ]
        await matrix.each("not let in", programs, check)


@pytest.mark.parametrize("fault", WHY)
async def test_not_trusted(
    fault: str, serve: Serve, secure: Sequence[Language], run: Run, tmp_path: Path, matrix: Matrix
) -> None:
    """One line that says what is wrong with the server's certificate, and 69."""
    authority = Authority(tmp_path)
    (tmp_path / "else").mkdir()
    trusted = {"another authority": Authority(tmp_path / "else").file, "none of the system's": None}
    names = ["other.example"] if fault == "another name" else ["localhost"]
    expires = datetime.now(UTC) - timedelta(days=1) if fault == "expired" else None
    server = await serve(*authority.sign("server", *names, expires=expires).flags)
    address = server.grpc.replace("127.0.0.1", "localhost")
    ca = trusted.get(fault, authority.file)
    options = ["--tls-ca", str(ca)] if ca else []

    async def check(program: Program) -> None:
        assert await program.end() == 69
        assert len(program.err) == 1
        why = WHY[fault] if program.language.name != "cpp" or fault == "another name" else "certificate verify failed"
        assert re.search(f"not trusted: .*({why})", program.err[0], re.IGNORECASE), program.err

    programs = [await run(language, f"grpcs://{address}", options=options) for language in secure]
    await matrix.each(f"not trusted, {fault}", programs, check)
