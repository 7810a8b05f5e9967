"""The list of one room: of several clients with one key, the one that asked last."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.core.presence import Present
from bcast_grpc.events import Author
from bcast_grpc.presence.roll import Candidate, Roll

CANDIDATES = st.builds(
    lambda server, number, key, reader: Candidate(
        server, Present(Author(f"s{number}", f"name {number}", key or f"s{number}"), number, reader, number // 2)
    ),
    st.sampled_from("abc"),
    st.integers(0, 5),
    st.sampled_from(["", ":x", ":y"]),
    st.booleans(),
)


def place(one: Candidate) -> tuple[object, ...]:
    """What only one client can have."""
    session, _, key = one.present.author
    return (one.server, session) if key == session else (key, one.present.reader)


@given(st.lists(st.tuples(st.booleans(), CANDIDATES)))
def test_the_later_of_several_is_listed(acts: list[tuple[bool, Candidate]]) -> None:
    """Whoever comes and goes in between, and each change says who was listed before and who is now."""
    roll = Roll()
    there: dict[tuple[object, ...], Candidate] = {}

    def listed() -> dict[tuple[object, ...], Candidate]:
        best: dict[tuple[object, ...], Candidate] = {}
        for one in sorted(there.values(), key=lambda one: one.rank):
            best[place(one)] = one
        return best

    for comes, one in acts:
        id_ = (place(one), one.server, one.present.author.session)
        before = listed().get(place(one))
        if comes:
            there[id_] = one
        else:
            there.pop(id_, None)
        change = (roll.put if comes else roll.drop)(one.server, one.present)
        after = listed().get(place(one))
        assert change == (before, after)
        assert roll.count == len(listed())
        assert roll.lists(one.server, one.present) == (after == one if comes else False)
        wanted = [(one.present.since_ns, one.present.author.session) for one in listed().values()]
        assert [(member.since_ns, member.session) for member in roll.members()] == sorted(wanted)


def test_the_latest_elsewhere_is_found() -> None:
    """Whether it is listed or not."""
    roll = Roll()
    for asked, server in enumerate("abc"):
        roll.put(server, Present(Author(f"s{asked}", "ana", ":x"), 0, asked=asked))
    found = [roll.elsewhere(server, ":x", reader=False) for server in "abcd"]
    assert [one and one.asked for one in found] == [2, 2, 1, 2]
    assert roll.elsewhere("a", ":x", reader=True) is None
