"""Servers log in to NATS in every way that there is, with the permissions that are documented and no others."""

from __future__ import annotations

import re
from asyncio import to_thread
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import Any

import nkeys
import pytest
import trustme

from bcast_grpc import CannotStart
from bcast_grpc.server import Server
from bcast_grpc.store.cli import run
from tests.authority import Authority, Files
from tests.engine import settings
from tests.nats_identities import Identity, Operator
from tests.nats_server import NatsServer, running

from .conftest import LocalDoor, Serve
from .peers import eventually, within

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "cluster.md"


async def works(serve: Serve, **options: Any) -> LocalDoor:
    """A server with these settings takes a message into the log."""
    door = await serve(**options)
    ana = await door.connect("ana")
    await ana.say("hola", id="1")
    assert (await ana.answer("1")).ack.seq == 1
    return door


async def refusal(**options: Any) -> str:
    """Why a server does not start with these settings, in one line, at once."""
    server: Server | None = None
    try:
        with pytest.raises(CannotStart) as caught:  # noqa: PT012  # some settings are refused before the start
            server = Server(settings(**options))
            await within(server.start())
    finally:
        if server:
            await server.stop()
    text = str(caught.value)
    assert "\n" not in text
    return text


def over_tls(nats: NatsServer) -> str:
    """Where it is, for ``store``."""
    return nats.url.replace("nats:", "tls:")


def tls(shown: Files, trusted: Authority | None = None) -> str:
    """The configuration of a server that shows a certificate, and may want one."""
    wanted = f', ca_file: "{trusted.file}", verify: true' if trusted else ""
    return f'tls {{ cert_file: "{shown.cert}", key_file: "{shown.key}"{wanted} }}'


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    """An authority that nobody trusts."""
    (tmp_path / "stranger").mkdir()
    return Authority(tmp_path / "stranger", trustme.CA())


async def test_tls(serve: Serve, authority: Authority, stranger: Authority, nats_program: Path, tmp_path: Path) -> None:
    """With the authority that signed; with another one, the line says which setting helps."""
    with running(nats_program, tmp_path / "nats", tls(authority.sign("nats"))) as nats:
        await works(serve, store=over_tls(nats), store_ca=authority.file)
        for other in ({"store_ca": stranger.file}, {}):
            why = await refusal(store=over_tls(nats), **other)
            assert "its certificate is not trusted: " in why
            assert "store-ca names who must have signed it" in why


async def test_a_certificate_for_another_name(authority: Authority, nats_program: Path, tmp_path: Path) -> None:
    """It is not taken, though the authority is the right one."""
    with running(nats_program, tmp_path / "nats", tls(authority.sign("nats", "nats.example"))) as nats:
        why = await refusal(store=over_tls(nats), store_ca=authority.file)
        assert "certificate is not valid for '127.0.0.1'" in why


async def test_mutual_tls(
    serve: Serve, authority: Authority, stranger: Authority, nats_program: Path, tmp_path: Path
) -> None:
    """With a certificate that NATS trusts, and with no other one and not without."""
    with running(nats_program, tmp_path / "nats", tls(authority.sign("nats"), authority)) as nats:
        common = {"store": over_tls(nats), "store_ca": authority.file}
        mine, other = authority.sign("bcast"), stranger.sign("bcast")
        await works(serve, **common, store_cert=mine.cert, store_key=mine.key)
        assert "certificate required" in await refusal(**common)
        assert "unknown ca" in await refusal(**common, store_cert=other.cert, store_key=other.key)
        why = await refusal(**common, store_cert=mine.cert, store_key=other.key)
        assert f"{other.key}: cannot be used for TLS to NATS: " in why


async def test_an_nkey(serve: Serve, nats_program: Path, tmp_path: Path) -> None:
    """Its seed is in a file, perhaps with a comment; another one is refused, and no secret is said."""
    me, other = Identity(), Identity()
    with running(nats_program, tmp_path / "nats", f"authorization {{ users: [ {{ nkey: {me.name} }} ] }}") as nats:
        file = me.write_seed(tmp_path / "seed")
        file.write_text(f"# of the servers\n{file.read_text()}")
        await works(serve, store=nats.url, store_nkey_file=file)
        why = await refusal(store=nats.url, store_nkey_file=other.write_seed(tmp_path / "other"))
        assert "it refuses the login: 'Authorization Violation'" in why
        assert other.seed not in why


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (lambda: "", "has no seed of an NKey: a line of 58 capital letters and digits, beginning with SU"),
        (lambda: Identity().name, "has no seed of an NKey"),
        (lambda: Identity(nkeys.PREFIX_BYTE_ACCOUNT).seed, "its seed is not of a user, whose seed begins with SU"),
    ],
)
async def test_files_without_the_seed_of_a_user(tmp_path: Path, text: Callable[[], str], says: str) -> None:
    """That is said before anybody is asked."""
    file = tmp_path / "seed"
    file.write_text(f"{text()}\n")
    assert f"{file}: {says}" in await refusal(store="nats://127.0.0.1:1", store_nkey_file=file)


async def test_credentials(serve: Serve, nats_program: Path, tmp_path: Path) -> None:
    """Of the account whose user it is; renewed ones are used for the next connection, and what is broken is not."""
    operator = Operator()
    file = operator.write_creds(tmp_path / "bcast.creds")
    nats = NatsServer(nats_program, tmp_path / "nats", more=operator.configuration)
    nats.start()
    try:
        await nats.ready()
        door = await works(serve, store=nats.url, store_creds=file)
        stranger = operator.write_creds(tmp_path / "other.creds", Identity(nkeys.PREFIX_BYTE_ACCOUNT))
        assert "it refuses the login" in await refusal(store=nats.url, store_creds=stranger)
        for text in (file.read_text()[:20], ""):  # half written
            file.write_text(text)
            nats.kill()
            await eventually(lambda: bool(door.server.hub.readiness.why_not))
            nats.start()
            await eventually(lambda: not door.server.hub.readiness.why_not)
        assert "is no credentials file (.creds): it has no NATS USER JWT" in await refusal(
            store=nats.url, store_creds=file
        )
    finally:
        nats.kill()


# --- permissions


def documented(cluster: str, without: str = "", instead: str = "") -> str:
    """The users that docs/cluster.md lists, for another cluster, and perhaps without one of the permissions."""
    (listed,) = re.findall(r"^    authorization \{\n(?:    .*\n|\n)*?    \}\n", DOCUMENT.read_text(), re.MULTILINE)
    assert without in listed
    listed = re.sub(r'password: "[^"]*"', 'password: "secret"', listed.replace(without, instead, 1))
    return listed.replace("BCAST_bcast", f"BCAST_{cluster}").replace("bcast.bcast.", f"bcast.{cluster}.")


@pytest.fixture
def login(tmp_path: Path) -> dict[str, Any]:
    """How to log in as the user of the document."""
    file = tmp_path / "password"
    file.write_text("secret\n")
    return {"store_user": "bcast", "store_password_file": file, "cluster": token_hex(4)}


async def test_the_documented_permissions_are_enough(
    serve: Serve, nats_program: Path, tmp_path: Path, login: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """For servers, for ``bcast-store`` as the servers' user, and for backups as another one."""
    cluster = login["cluster"]
    with running(nats_program, tmp_path / "nats", documented(cluster)) as nats:
        here, there = [await serve(store=nats.url, **login) for _ in range(2)]
        ana, bob = await here.connect("ana"), await there.connect("bob")
        for n in range(20):  # both write, so that one forwards to the other
            await ana.say(f"{n}", id=f"{n}")
            await bob.say(f"{n}", id=f"{n}")
        for n in range(20):
            await ana.answer(f"{n}")
            await bob.answer(f"{n}")
        flags = ["--cluster", cluster, "--store-password-file", str(login["store_password_file"]), "--store-user"]

        async def store(*arguments: str, user: str) -> None:
            assert await within(to_thread(run, [*arguments, *flags, user])) == 0, capsys.readouterr()

        folder = str(tmp_path / "copy")
        for command in ("info", "check", "new-epoch"):
            await store(command, nats.url, user="bcast")
        for arguments in (("copy", nats.url, folder), ("info", nats.url), ("check", nats.url)):
            await store(*arguments, user="backup")
        for door in (here, there):
            await door.close()
            await door.server.stop()
            assert not door.server._broker._connection.denials.last  # type: ignore[attr-defined]
        await store("copy", folder, nats.url, "--overwrite", user="backup")


@pytest.mark.parametrize(
    ("lacking", "instead", "says"),
    [
        ('"$JS.API.STREAM.CREATE.BCAST_bcast", ', "", 'permissions violation for publish to "$js.api.stream.create.'),
        ('"bcast.bcast.live.*", "bcast.bcast.fwd.*.*"', '"bcast.bcast.live.*"', 'for subscription to "bcast.{}.fwd.*"'),
        ('"_INBOX.>"\n', "", 'permissions violation for subscription to "_inbox.'),
    ],
)
async def test_without_a_permission_a_server_does_not_start(
    nats_program: Path, tmp_path: Path, login: dict[str, Any], lacking: str, instead: str, says: str
) -> None:
    """One line says which it is."""
    with running(nats_program, tmp_path / "nats", documented(login["cluster"], lacking, instead)) as nats:
        assert says.format(login["cluster"]) in await refusal(store=nats.url, **login)


@pytest.mark.parametrize(
    ("lacking", "instead", "says"),
    [
        ('"bcast.bcast.log.*", "bcast.bcast.fwd.*.*"', '"bcast.bcast.fwd.*.*"', 'for publish to "bcast.{}.log.*"'),
        ('"bcast.bcast.live.*", ', "", 'for subscription to "bcast.{}.live.*"'),
    ],
)
async def test_a_permission_that_is_missed_later_is_told_once(
    serve: Serve,
    nats_program: Path,
    tmp_path: Path,
    login: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    lacking: str,
    instead: str,
    says: str,
) -> None:
    """However many rooms there are, and health tells it, too."""
    with running(nats_program, tmp_path / "nats", documented(login["cluster"], lacking, instead)) as nats:
        door = await serve(store=nats.url, broker_patience_s=1, **login)
        peers = [door.open("ana", room=f"{n}") for n in range(5)]
        told = says.format(login["cluster"])
        await eventually(lambda: told in door.server.hub.readiness.why_not)
        for peer in peers:
            peer.cancel()
        lines = [record for record in caplog.records if told in record.getMessage()]
        assert len([record for record in lines if record.name.endswith("denials")]) == 1
        assert len(lines) <= 2  # and why health has changed
