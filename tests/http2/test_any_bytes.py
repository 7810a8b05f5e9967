"""Whatever bytes come: how they are cut changes nothing, and no exception leaves the connection."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bcast_grpc.http2 import Connection, Limits
from bcast_grpc.http2 import events as happened
from bcast_grpc.http2 import frames as wire
from tests.http2.peer import GREETING, Clock, data, feed, headers
from tests.http2.test_budgets import FLOODS
from tests.http2.test_connection import BROKEN


def joined(seen: list[happened.Event]) -> list[object]:
    """Events with runs of DATA as one, wherever they were cut."""
    result: list[object] = []
    for one in seen:
        last = result[-1] if result else None
        if isinstance(one, happened.DataReceived) and isinstance(last, happened.DataReceived) and not last.ended:
            result[-1] = last._replace(
                payloads=[*last.payloads, *one.payloads], size=last.size + one.size, ended=one.ended
            )
        else:
            result.append(one)
    return result


PIECES = st.one_of(
    st.sampled_from([*FLOODS.values(), *(sent for sent, _ in BROKEN.values()), headers(1), headers(3, ended=True)]),
    st.builds(data, st.sampled_from([1, 3]), st.binary(max_size=30), st.sampled_from([0, 1, 8])),
    st.builds(wire.frame, st.integers(0, 12), st.integers(0, 255), st.integers(0, 5), st.binary(max_size=20)),
)


@given(st.lists(PIECES, max_size=20), st.lists(st.integers(0, 500), max_size=20))
def test_the_same_bytes_cut_differently_bring_the_same(pieces: list[bytes], cuts: list[int]) -> None:
    """Whatever they are, and no exception leaves the connection."""
    sent = GREETING + headers(1) + b"".join(pieces)
    whole, cut = Connection(Limits(), Clock()), Connection(Limits(), Clock())
    expected = feed(whole, sent)
    places = [0, *sorted(min(one, len(sent)) for one in cuts), len(sent)]
    seen = [event for at, end in pairwise(places) for event in feed(cut, sent[at:end])]
    assert joined(seen) == joined(expected)
    assert b"".join(cut.data_to_send()) == b"".join(whole.data_to_send())
