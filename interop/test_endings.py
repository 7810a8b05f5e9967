"""How a call ends, and whether a client comes back: the table in docs/clients.md."""

from __future__ import annotations

import pytest
from grpc import StatusCode

from .conftest import Gather
from .matrix import Matrix
from .program import Program
from .scripted import EPOCH, ahead, back, ending, halfway, hang, in_parts, playing, stay

OURS = "bcast_grpc"
PASSING = [
    ending(StatusCode.OK, ""),
    *(
        ending(code, "something between")
        for code in StatusCode
        if code
        not in {StatusCode.OK, StatusCode.UNIMPLEMENTED, StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED}
    ),
    ending(StatusCode.ABORTED, "another service", domain="example.org"),
    ending(StatusCode.RESOURCE_EXHAUSTED, "server full", domain=OURS, retryable=True),
    ending(StatusCode.PERMISSION_DENIED, "only for now", domain=OURS, retryable=True),
]
FINAL = {
    "unimplemented": ending(StatusCode.UNIMPLEMENTED, "refused: no such service"),
    "unauthenticated": ending(StatusCode.UNAUTHENTICATED, "refused: who are you?"),
    "permission denied": ending(StatusCode.PERMISSION_DENIED, "refused: not you"),
    "replaced": ending(StatusCode.ABORTED, "refused: replaced", domain=OURS),
    "internal": ending(StatusCode.INTERNAL, "refused: a fault", domain=OURS),
    "a new code": ending(StatusCode.UNAVAILABLE, "refused: for good", domain=OURS),
}


async def test_what_comes_back(gather: Gather, matrix: Matrix) -> None:
    """Whatever the server does not call final."""
    async with playing(*PASSING, stay) as server:
        programs = await gather(server.address)

        async def check(program: Program) -> None:
            await program.is_in(len(PASSING) + 1)
            await program.end_input()
            assert await program.end() == 0

        await matrix.each("comes back", programs, check)


@pytest.mark.parametrize("last", FINAL)
async def test_what_is_final(gather: Gather, matrix: Matrix, last: str) -> None:
    """It ends with 1, or with 77 where it is not let in, and says why."""
    async with playing(FINAL[last], stay) as server:

        async def check(program: Program) -> None:
            not_let_in = program.language.secure and last in {"unauthenticated", "permission denied"}
            assert await program.end() == (77 if not_let_in else 1)
            assert "refused: " in program.err[-1]

        await matrix.each("is final", await gather(server.address), check)


async def test_when_to_come_back(gather: Gather, matrix: Matrix) -> None:
    """As the server says, also to whom it does not let in."""
    full = ending(StatusCode.RESOURCE_EXHAUSTED, "full", domain=OURS, retryable=True, retry_after_s=0.9, let_in=False)
    async with playing(full, full, stay) as server:
        programs = await gather(server.address)

        async def check(program: Program) -> None:
            assert len(program.err) == 2

        await matrix.each("when", programs, check)
    for first, second, third in server.calls.values():
        assert second - first >= 0.9
        assert third - second >= 0.9


async def test_leaving_is_bounded(gather: Gather, matrix: Matrix) -> None:
    """Where the server does not end the call, the client does, after ten seconds."""
    async with playing(hang) as server:
        programs = await gather(server.address)
        for program in programs:
            await program.say({"msg": "hola", "id": "1"})
            await program.end_input()

        async def check(program: Program) -> None:
            assert await program.end() == 0
            assert [event["id"] for event in program.of_kind("ACK")] == ["1"]

        await matrix.each("leaves", programs, check)


async def test_members_in_parts(gather: Gather, matrix: Matrix) -> None:
    """A list that ends in the middle is asked for again; it is answered by its last part."""
    async with playing(halfway, in_parts) as server:
        programs = await gather(server.address)
        for program in programs:
            await program.say({"operacion": "who", "id": "1"})
            await program.end_input()

        async def check(program: Program) -> None:
            assert await program.end() == 0
            assert [event["members"] for event in program.of_kind("MEMBERS")] == [
                {"more": True},
                {"more": True},
                {"members": [{"session": "2"}]},
            ]

        await matrix.each("members in parts", programs, check)


async def test_an_order_that_went_back(gather: Gather, matrix: Matrix) -> None:
    """After a GAP of that kind all that is kept is still to come, though the epoch is the same."""
    async with playing(ahead, back, stay) as server:
        programs = await gather(server.address)

        async def check(program: Program) -> None:
            await program.is_in(3)

        await matrix.each("went back", programs, check)
    assert list(server.places.values()) == [["", f"{EPOCH}:20", f"{EPOCH}:0"]] * len(programs)
