"""Of lines that are alike, few a minute are written."""

from __future__ import annotations

from bcast_grpc.server.repeats import MOST, WITHIN_S, Repeats, Said


def test_the_first_lines_of_a_minute_are_shown() -> None:
    """The last of them says so, and what is left out is reported once, with the first line of another minute."""
    now = 1000.0
    repeats = Repeats(lambda: now)
    said = [repeats.count("it") for _ in range(MOST + 7)]
    assert said == [Said(shown=True)] * (MOST - 1) + [Said(shown=True, last=True)] + [Said(shown=False)] * 7
    now += WITHIN_S
    assert repeats.count("it") == Said(shown=True, missed=7)
    assert repeats.count("it") == Said(shown=True)


def test_each_kind_has_its_own_minute() -> None:
    """Whoever causes one kind of lines hides no others."""
    repeats = Repeats(lambda: 0.0)
    for _ in range(2 * MOST):
        repeats.count("it")
    assert repeats.count("another") == Said(shown=True)


def test_a_few_lines_now_and_then_are_all_shown() -> None:
    """However long that goes on."""
    now = 0.0
    repeats = Repeats(lambda: now)
    for _ in range(10 * MOST):
        now += 1
        assert repeats.count("it") == Said(shown=True)
