"""Print a group's figures as a table."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.figures import Column, Figure, Group
from benchmarks.goals import Verdict, judge
from benchmarks.load import limited_by_load
from benchmarks.rounds import Row


def show(group: Group, rows: Sequence[Row]) -> None:
    """Print the table; the ratio says how many times better ours is, the first that is measured of each figure."""
    titles = {figure.title: figure for figure in group.figures}
    found = {(row.figure, row.peer): row for row in rows}
    percent = any(figure.of for figure in group.figures)
    heads = [column.title for column in group.columns]
    widths = [max(len(head), 9) + 2 for head in heads]
    print(f"\n{group.title}" + (f" (median of {group.rounds})" if group.rounds > 1 else ""))
    cells = "".join(f"{head:>{width}}" for head, width in zip(heads, widths, strict=True))
    print(f"  {'':<28}{'':<21}{'ours is':>9}{'of that' if percent else '':>{9 * percent}}{cells}")
    before = ""
    for row in rows:
        if before and row.figure != before:
            _goals(group, titles[before], rows)
        name, before = ("" if row.figure == before else row.figure), row.figure
        values = "".join(f"{_cell(row, column):>{width}}" for column, width in zip(group.columns, widths, strict=True))
        of = _share(group, titles[row.figure], row, found) if percent else ""
        ratio = _ratio(group, titles[row.figure], row, found)
        print(f"  {name:<28}{row.peer:<21}{ratio:>9}{of:>{9 * percent}}{values}{_remark(row)}", flush=True)
    _goals(group, titles[before], rows)


def verdicts(group: Group, rows: Sequence[Row]) -> list[Verdict]:
    """Return what was reached and what was missed of all goals of a group."""
    return [verdict for figure in group.figures for verdict in _judged(figure, rows)]


def _judged(figure: Figure, rows: Sequence[Row]) -> list[Verdict]:
    results = {row.peer: row.result for row in rows if row.figure == figure.title}
    return judge(figure.goals, figure.peers, results)


def _goals(group: Group, figure: Figure, rows: Sequence[Row]) -> None:
    for verdict in _judged(figure, rows):
        print(f"      {'reached' if verdict.reached else 'MISSED '}  {describe(group, verdict)}", flush=True)


def describe(group: Group, verdict: Verdict) -> str:
    """Say what the goal is and what was measured."""
    goal = verdict.goal
    column = next(column for column in group.columns if column.key == goal.key)
    form, unit = (".2f", 1.0) if goal.peer else (column.form, column.unit)
    bound = f"{goal.bound:g} x {goal.peer.name}" if goal.peer else format(goal.bound / unit, form)
    limit = "at most" if goal.at_most else "at least"
    return f"{verdict.ours}, {column.title} {limit} {bound}: {format(verdict.value / unit, form)}"


def _cell(row: Row, column: Column) -> str:
    value = row.result.get(column.key)
    return "-" if value is None else format(value / column.unit, column.form)


def _ratio(group: Group, figure: Figure, row: Row, found: dict[tuple[str, str], Row]) -> str:
    name = figure.peers[0].name
    ours = _value(group, found.get((row.figure, name)))
    theirs = _value(group, row)
    if row.peer == name or not ours or not theirs:
        return ""
    return f"{ours / theirs if group.more_is_better else theirs / ours:.2f} x"


def _share(group: Group, figure: Figure, row: Row, found: dict[tuple[str, str], Row]) -> str:
    whole, part = _value(group, found.get((figure.of, row.peer))), _value(group, row)
    return f"{part / whole:.0%}" if whole and part else ""


def _value(group: Group, row: Row | None) -> float:
    return float(row.result.get(group.key, 0)) if row else 0


def _remark(row: Row) -> str:
    if "error" in row.result:
        return f"  failed: {row.result['error'][:70]}"
    fault = f"  {row.faults} faults: {row.result.get('first_fault', '')[:70]}" if row.faults else ""
    return fault + ("  the load was the limit" if limited_by_load(row.result) else "")
