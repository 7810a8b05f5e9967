"""The table of access: every door, credential, right and operation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from itertools import chain, combinations
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError
from websockets.exceptions import ConnectionClosed

from bcast_grpc.auth import refusals
from bcast_grpc.auth.patterns import RIGHTS
from bcast_grpc.v1 import chat_pb2 as pb
from tests import tokens

from .conftest import LocalDoor, Serve
from .peers import Ending, Peer, within

SETS = [frozenset(some) for some in chain.from_iterable(combinations(RIGHTS, size) for size in range(len(RIGHTS) + 1))]
"""All sets of rights."""

REQUESTS = [
    {"msg": "hola", "id": "send"},
    {"operacion": "who", "id": "who"},
    {"operacion": "join", "msg": "ana", "id": "name"},
    {"operacion": "leave", "id": "end"},
]

Pairs: TypeAlias = Mapping[str, str]


class Outcome(NamedTuple):
    """What came of a stay.

    Attributes:
        code: with which error it ended; empty if it did not.
        answers: by the id of the request: the code of the error, or empty.
        heard: the texts of messages.
        gap: the reason of the GAP, if there was one.
    """

    code: str
    answers: Mapping[str, str]
    heard: Sequence[str]
    gap: str


Stay: TypeAlias = Callable[[LocalDoor, str, Pairs], Awaitable[Outcome]]
"""Comes in with a token and with metadata, asks for everything, and leaves."""


def bearer(token: str) -> dict[str, str]:
    """The metadata or headers that present a token."""
    return {"authorization": f"Bearer {token}"} if token else {}


async def connect(doors: LocalDoor, token: str, pairs: Pairs) -> Outcome:
    """By ``Connect``."""
    peer = doors.open("", bearer(token).items(), None, **pairs)
    if await _is_in(peer):
        for request in REQUESTS:
            await peer.send(pb.ConnectRequest(**request))  # type: ignore[arg-type]
    return _of_call(await peer.end())


async def subscribe(doors: LocalDoor, token: str, pairs: Pairs) -> Outcome:
    """By ``Subscribe``: it only reads, up to the last message that there is."""
    peer = doors.open_reader(pairs=bearer(token).items(), **pairs)
    if not await _is_in(peer):
        return _of_call(await peer.end())
    await doors.server.publish("lobby", "the end")
    await peer.hear_until("the end")
    peer.cancel()
    return _of_call(Ending(StatusCode.OK, before=tuple(peer.heard[:-1])))


async def _is_in(peer: Peer) -> bool:
    try:
        return bool(await within(peer.call.initial_metadata()))
    except AioRpcError:
        return False


def _of_call(ending: Ending) -> Outcome:
    events = ending.before
    answers = {
        event.id: pb.ErrorCode.Name(event.error.code) if event.error.code else "" for event in events if event.id
    }
    gaps = [pb.GapReason.Name(event.gap.reason) for event in events if event.kind == pb.EVENT_KIND_GAP]
    heard = [event.message for event in events if event.kind == pb.EVENT_KIND_MESSAGE]
    return _outcome(ending.reason, answers, heard, gaps)


async def browse_with_header(doors: LocalDoor, token: str, pairs: Pairs) -> Outcome:
    """By a WebSocket, with a header."""
    return await _json(await doors.browse(_query(pairs), additional_headers=bearer(token)), [])


async def browse_with_subprotocol(doors: LocalDoor, token: str, pairs: Pairs) -> Outcome:
    """By a WebSocket, as browsers do."""
    protocols = ["bcast", *([f"bcast.token.{token}"] if token else [])]
    return await _json(await doors.browse(_query(pairs), subprotocols=protocols), [])


async def browse(doors: LocalDoor, token: str, pairs: Pairs) -> Outcome:
    """By a WebSocket, with a first object."""
    return await _json(await doors.browse(_query(pairs)), _first(token))


async def plug(doors: LocalDoor, token: str, pairs: Pairs) -> Outcome:
    """By a plain socket, which has no metadata."""
    assert not pairs
    return await _json(await doors.plug(), _first(token))


def _query(pairs: Pairs) -> str:
    return "?" + "&".join(f"{key}={value}" for key, value in pairs.items())


def _first(token: str) -> list[dict[str, str]]:
    return [{"operacion": "auth", "msg": token}] if token else []


async def _json(peer: Any, first: list[dict[str, str]]) -> Outcome:
    with suppress(ConnectionClosed, ConnectionError):
        for request in [*first, *REQUESTS]:
            await peer.send(request)
    events = await peer.end()
    errors = [event for event in events if event["kind"] == "EVENT_KIND_ERROR" and not event.get("id")]
    answers = {event["id"]: event.get("error", {}).get("code", "") for event in events if event.get("id")}
    gaps = [event["gap"].get("reason", "") for event in events if event["kind"] == "EVENT_KIND_GAP"]
    heard = [event["message"] for event in events if event["kind"] == "EVENT_KIND_MESSAGE"]
    return _outcome(errors[-1]["error"]["code"] if errors else "", answers, heard, gaps)


def _outcome(code: str, answers: Mapping[str, str], heard: Sequence[str], gaps: Sequence[str]) -> Outcome:
    short = {id_: answer.removeprefix("ERROR_CODE_") for id_, answer in answers.items()}
    gap = gaps[0].removeprefix("GAP_REASON_") if gaps else ""
    return Outcome(code.removeprefix("ERROR_CODE_"), short, heard, gap)


STAYS: list[Stay] = [connect, subscribe, browse_with_header, browse_with_subprotocol, browse, plug]

CREDENTIALS = {
    "nothing": "UNAUTHENTICATED",
    "bad signature": "UNAUTHENTICATED",
    "another key": "UNAUTHENTICATED",
    "another kind of key": "UNAUTHENTICATED",
    "RS512": "UNAUTHENTICATED",
    "alg none": "UNAUTHENTICATED",
    "HS256 with the public key": "UNAUTHENTICATED",
    "expired": "TOKEN_EXPIRED",
    "not yet valid": "UNAUTHENTICATED",
    "another audience": "UNAUTHENTICATED",
    "HS256 with the kid of nothing": "UNAUTHENTICATED",
    "a kid that is a path": "UNAUTHENTICATED",
}
"""Wrong credentials, and what comes of each at every door, whatever it is presented for."""


@pytest.fixture
async def doors(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalDoor:
    """A server that takes tokens, with one message in its lobby; nobody is banned."""
    monkeypatch.setattr(refusals, "MOST", 10**6)
    keys = (str(tokens.key_file(tmp_path)),)
    doors = await serve(token_keys=keys, token_audience=tokens.AUDIENCE, http_port=0, tcp_port=0)
    await doors.open("keeper", pairs=bearer(tokens.token()).items(), events="none").arrive()
    await doors.server.publish("lobby", "old")
    return doors


async def hellos(doors: LocalDoor, stay: Stay) -> AsyncIterator[Pairs]:
    """Nothing special, a history, and a place to resume, where the door can say that; each time after a message."""
    yield {}
    if stay is not plug:
        await doors.server.publish("lobby", "last")
        yield {"history": "1"}
        ack = await doors.server.publish("lobby", "last")
        yield {"after": f"{ack.epoch}:{ack.seq - 1}"}


@pytest.mark.parametrize("stay", STAYS)
async def test_every_set_of_rights_allows_its_operations_alone(doors: LocalDoor, stay: Stay) -> None:
    """At every door: to come in, to send, to ask who is here, for history and to resume."""
    for rights in SETS:
        token = tokens.token(rooms={"lobby": sorted(rights)})
        async for pairs in hellos(doors, stay):
            outcome = await stay(doors, token, pairs)
            if "join" not in rights or ("history" in pairs and "history" not in rights):
                assert outcome == ("PERMISSION_DENIED", {}, [], ""), (rights, pairs)
                continue
            may = {right: "" if right in rights else "PERMISSION_DENIED" for right in RIGHTS}
            answers = {"send": may["send"], "who": may["who"], "name": "", "end": ""}
            heard = ["last"] if pairs and "history" in rights else []
            gap = "NOT_ALLOWED" if "after" in pairs and "history" not in rights else ""
            expected = Outcome("", {} if stay is subscribe else answers, heard, gap)
            assert outcome == expected, (rights, pairs)


async def test_every_set_of_rights_publishes_or_not(doors: LocalDoor) -> None:
    """One right counts, and being in the room is another."""
    for rights in SETS:
        pairs = bearer(tokens.token(rooms={"lobby": sorted(rights)})).items()
        if "send" in rights:
            await doors.publish("hola", pairs=pairs)
        else:
            assert (await doors.publish_in_vain("hola", pairs=pairs)).reason == "PERMISSION_DENIED"


@pytest.mark.parametrize("stay", STAYS)
async def test_no_wrong_credential_allows_anything(doors: LocalDoor, stay: Stay) -> None:
    """At every door, whatever it is presented for, and whatever rights it claims."""
    wrong = {**tokens.wrong_tokens(), "nothing": ""}
    for name, code in CREDENTIALS.items():
        async for pairs in hellos(doors, stay):
            assert await stay(doors, wrong[name], pairs) == (code, {}, [], ""), (name, pairs)
    assert doors.server.hub.clients == 1


async def test_no_wrong_credential_publishes(doors: LocalDoor) -> None:
    """Where there is no stay."""
    wrong = {**tokens.wrong_tokens(), "nothing": ""}
    for name, code in CREDENTIALS.items():
        ending = await doors.publish_in_vain("hola", pairs=bearer(wrong[name]).items())
        assert ending.reason == code, name
