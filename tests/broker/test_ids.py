"""An id is remembered for as long as was promised, and those that cannot be are refused."""

from __future__ import annotations

import gc

from bcast_grpc.broker.budget import Budget
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.ids import ID_BYTES, Ids
from bcast_grpc.errors import ErrorCode, RequestError
from bcast_grpc.events import Stamp

S = 1_000_000_000


def ids_of(count: int = 1 << 40) -> tuple[Ids, Budget]:
    """Return ids of which so many can be remembered, for 10 s."""
    budget = Budget(4 * ID_BYTES * count)
    return Ids(Retention(dedup_s=10, budget=budget)), budget


def test_an_id_is_known_after_a_million_others() -> None:
    """The promise is one in time: no number of others shortens it."""
    ids, budget = ids_of()
    assert ids.recall(7, S, "ana", "first", 1) is None
    for number in range(1_000_000):
        ids.recall(8, 2 * S, "ana", str(number), number + 2)
    assert len(ids) == 1_000_001
    assert ids.recall(9, 10 * S, "ana", "first", 9) == Stamp(1, 7)
    assert ids.recall(9, 10 * S, "ana", "999999", 9) == Stamp(1_000_001, 8)
    ids.expire(11 * S)
    assert (len(ids), ids.recall(9, 11 * S, "ana", "0", 9)) == (1_000_000, Stamp(2, 8))
    ids.expire(12 * S)
    assert (len(ids), budget.ids) == (0, 0)


def test_an_id_is_new_when_its_time_is_over() -> None:
    """Whether something was expired meanwhile or not."""
    ids, budget = ids_of()
    assert ids.recall(0, 0, "ana", "x", 1) is None
    assert ids.recall(0, 10 * S - 1, "ana", "x", 2) == Stamp(1, 0)
    assert ids.recall(0, 10 * S, "ana", "x", 2) is None
    assert ids.recall(0, 11 * S, "ana", "x", 3) == Stamp(2, 0)
    assert (len(ids), budget.ids) == (1, ID_BYTES)


def test_keys_and_ids_do_not_run_into_each_other() -> None:
    """What is one author's key and what is its id is told apart, whatever they are made of."""
    ids, _ = ids_of()
    pairs = [("a", "bc"), ("ab", "c"), ("", "abc"), ("abc", ""), ("1:a", "b"), ("1", ":ab"), ("ñ", "ñ"), ("ññ", "")]
    for seq, (key, id_) in enumerate(pairs):
        assert ids.recall(0, 0, key, id_, seq) is None
    assert [ids.recall(0, 0, key, id_, 99) for key, id_ in pairs] == [Stamp(seq, 0) for seq in range(8)]


def test_what_does_not_fit_is_refused_and_what_is_known_stays_known() -> None:
    """The refusal says when there is room again, and then there is."""
    ids, budget = ids_of(100)
    for number in range(100):
        ids.recall(0, number * S // 100, "ana", str(number), number)
    assert budget.ids_full
    refusal = ids.recall(0, 3 * S, "ana", "x", 100)
    assert isinstance(refusal, RequestError)
    assert "max-memory; try again in 7" in str(refusal)
    assert (refusal.code, refusal.retryable) == (ErrorCode.RATE_LIMITED, True)
    assert ids.recall(0, 3 * S, "ana", "0", 100) == Stamp(0, 0)
    later = 3 * S + round(refusal.retry_after_s * S)
    assert later == 10 * S
    assert ids.recall(0, later, "ana", "x", 100) is None
    assert ids.recall(0, later, "ana", "99", 101) == Stamp(99, 0)


def test_rooms_share_the_room_for_ids() -> None:
    """One that remembers many leaves less to the others, until it is gone."""
    ids, budget = ids_of(10)
    other = Ids(Retention(dedup_s=10, budget=budget))
    for number in range(10):
        ids.recall(0, 0, "ana", str(number), number)
    assert isinstance(other.recall(0, 0, "ana", "0", 1), RequestError)
    del ids
    gc.collect()
    assert budget.ids == 0
    assert other.recall(0, 0, "ana", "0", 1) is None


def test_what_got_no_place_is_forgotten() -> None:
    """So that it can be sent again."""
    ids, budget = ids_of()
    ids.recall(0, 0, "ana", "x", 1)
    ids.forget("ana", "x")
    ids.forget("ana", "y")
    assert (ids.recall(0, 0, "ana", "x", 2), budget.ids) == (None, ID_BYTES)


def test_what_is_read_from_a_store_is_remembered_though_there_is_no_room() -> None:
    """It was promised before; whoever sends something new waits."""
    ids, budget = ids_of(1)
    for number in range(3):
        ids.add("ana", str(number), Stamp(number, 0), 0)
    ids.add("ana", "2", Stamp(7, 0), 0)
    assert budget.ids == 3 * ID_BYTES
    assert ids.recall(0, 0, "ana", "2", 9) == Stamp(7, 0)


def test_ids_that_are_added_together_are_known_like_others() -> None:
    """Each once, with its last place, and for its whole time; finding one remembers nothing."""
    ids, budget = ids_of()
    ids.add_all([("ana", str(number), number) for number in range(10_000)], 7, S)
    ids.add_all([("ana", "0", 20_000), ("ben", "0", 20_001)], 8, 2 * S)
    assert (len(ids), budget.ids) == (10_001, 10_001 * ID_BYTES)
    assert ids.find("ana", "9999", 10 * S) == Stamp(9999, 7)
    assert ids.find("ana", "9999", 11 * S) is None
    assert ids.find("ana", "none", S) is None
    ids.expire(11 * S)
    assert (len(ids), ids.find("ana", "0", 11 * S), ids.find("ben", "0", 11 * S)) == (
        2,
        Stamp(20_000, 8),
        Stamp(20_001, 8),
    )
    assert ids.refusal(11 * S) is None
