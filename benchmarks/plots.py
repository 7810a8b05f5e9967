"""``python -m benchmarks.plots``: draw the growth curves from the saved figures, as growth.svg."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmarks.peers import CENTRIFUGO, GRPC_GO, NATS, OURS, ROOT
from benchmarks.record import FULL

Row = dict[str, Any]
PLOTS = ROOT / "docs" / "plots"
INK = "#7d8590"  # readable on white and on black
COLOURS = {OURS.name: "#f0532d", NATS.name: "#3b8eea", GRPC_GO.name: "#2fa36b", CENTRIFUGO.name: "#a371f7"}
AXES = {
    "clients": "clients",
    "senders": "senders of 100 clients",
    "rooms": "rooms, 2000 clients",
    "size": "bytes a message",
}


@dataclass(frozen=True)
class Measure:
    """A row of plots: what of the results of which groups, divided by ``unit``, and on which scale."""

    title: str
    group: str
    key: str
    unit: float = 1
    scale: str = "log"


MEASURES = (
    Measure("deliveries/s", "throughput", "per_second"),
    Measure("server CPU s for a million", "throughput", "server_cpu_s_per_million"),
    Measure("p99 in ms at 30 messages/s", "latency at 30 messages/s", "p99_ms"),
    Measure("KB for an idle client", "memory", "bytes_per_client", 1e3, "linear"),
)
STYLE: Any = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "font.family": "sans-serif",
    "font.size": 9,
    "grid.alpha": 0.25,
    "grid.color": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "bcast_grpc",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def main() -> None:
    """Draw; what ``--full`` saved last is kept beside the plots."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plots", description=__doc__)
    parser.add_argument("--results", type=Path, default=FULL if FULL.exists() else PLOTS / "results.json")
    parser.add_argument("--out", type=Path, default=PLOTS)
    options = parser.parse_args()
    text = options.results.read_text()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(text)
    with mpl.rc_context(STYLE):
        draw(json.loads(text)["rows"], options.out / "growth.svg")


def draw(rows: Sequence[Row], out: Path) -> None:
    """Draw a row of plots for each measure, a column for each axis; the legend is where memory has no plot."""
    figure, grid = pyplot.subplots(len(MEASURES), len(AXES), figsize=(11, 9), sharex="col", sharey="row", squeeze=False)
    for number, measure in enumerate(MEASURES):
        for axes, (axis, label) in zip(grid[number], AXES.items(), strict=True):
            lines = curves(rows, axis, measure)
            if not lines:
                axes.set_axis_off()
                continue
            plot(axes, lines, measure.scale)
            if not any(curves(rows, axis, below) for below in MEASURES[number + 1 :]):
                axes.set_xlabel(label)
                axes.tick_params(labelbottom=True)
        grid[number][0].set_ylabel(measure.title)
    handles, names = grid[0][0].get_legend_handles_labels()
    grid[-1][1].legend(handles, names, loc="center left", frameon=False, fontsize=11)
    figure.tight_layout()
    figure.savefig(out, transparent=True, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def curves(rows: Sequence[Row], axis: str, measure: Measure) -> dict[str, list[tuple[float, float]]]:
    """Return the points of each peer's line, in the order of x; without zeros and what could not be measured."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        value = row["result"].get(measure.key, 0)
        if row["group"] == f"{axis}: {measure.group}" and value > 0:
            found.setdefault(row["peer"], []).append((row["x"], value / measure.unit))
    return {peer: sorted(found[peer]) for peer in COLOURS if peer in found}


def plot(axes: Axes, lines: dict[str, list[tuple[float, float]]], scale: str) -> None:
    """Draw lines, ours above and thicker; x is logarithmic."""
    for peer, points in lines.items():
        ours = peer == OURS.name
        style: Any = {"linewidth": 2.6, "markersize": 5, "zorder": 3} if ours else {"linewidth": 1.4, "markersize": 3}
        axes.plot(*zip(*points, strict=True), marker="o", label=peer, color=COLOURS[peer], **style)
    axes.set_xscale("log")
    ticks = sorted({x for points in lines.values() for x, _ in points})
    axes.set_xticks(ticks, [short(tick) for tick in ticks])
    axes.set_yscale(scale)
    if scale == "log":
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(visible=True)


def short(value: float) -> str:
    """Write a number as people do: 300, 3k, 64k (of 1024 each, where that comes out even), 2M."""
    if value >= 1e6:
        return f"{value / 1e6:.3g}M"
    if value >= 1e3:
        return f"{value / (1e3 if value % 1024 else 1024):.3g}k"
    return f"{value:.3g}"


if __name__ == "__main__":
    main()
