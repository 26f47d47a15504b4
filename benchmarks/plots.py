"""Draws the plots of a report as SVG: the same figures give the same bytes.

A plot picks its figures by key and by what they were measured at, and raises NoFigure when a run has none. The ground
is white and opaque, so that a plot reads as well on a dark page. Colours are Okabe and Ito's, which colour-blind people
can tell apart; markers differ too.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter

from benchmarks.errors import NoFigure
from benchmarks.figures import Figure, Spread
from benchmarks.selection import along, baselines_along, pick, select
from benchmarks.table import number

_OURS: Final = ("#0072b2", "#56b4e9", "#009e73")
_OTHERS: Final = ("#d55e00", "#e69f00", "#cc79a7", "#000000", "#999999")
_MARKERS: Final = "sv^Dx*"


Points = Sequence[tuple[float, Spread]]


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture: `draw_on` raises NoFigure when its figures were not measured."""

    file_name: str
    title: str
    caption: str
    draw_on: Callable[[Canvas, Sequence[Figure]], None]


def draw(plot: Plot, figures: Sequence[Figure]) -> bytes:
    """Draw a plot as SVG. Raises NoFigure."""
    style = mpl.rc_context(
        {
            "svg.hashsalt": "hashwacht",  # else ids are random
            "svg.fonttype": "none",  # text stays text: small, and searchable
            "font.size": 10,
            "axes.grid": True,
            "grid.color": "#dddddd",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
        }
    )
    with style:
        canvas = Canvas(figsize=(8, 4.5), layout="constrained")
        plot.draw_on(canvas, figures)
        canvas.suptitle(plot.title, fontweight="bold")
        file = io.BytesIO()
        # Neither date nor version: the picture changes when the figures do.
        canvas.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Title": plot.title})
        return file.getvalue()


def _over_batch(canvas: Canvas, figures: Sequence[Figure]) -> None:
    entries = _entries_of_peers(figures)
    lookups = along(figures, "batch", "miss lookup", entries=entries)
    axes = _axes(canvas, "digests in a batch", "ns for each digest that is not listed")
    _line(axes, "Hashwacht, lookup", _OURS[0], "o", _spreads(lookups))
    requests = along(figures, "batch", "miss request", entries=entries)
    _line(axes, "Hashwacht, body → reply", _OURS[1], "o", _spreads(requests))
    _baseline_lines(axes, lookups)
    _legend_outside(canvas)


def _over_entries(canvas: Canvas, figures: Sequence[Figure]) -> None:
    axes = _axes(canvas, "entries of the list", "ns for each digest that is not listed")
    for batch, colour in zip((1, 1_000, 10_000), _OURS, strict=True):
        points = along(figures, "entries", "miss lookup", batch=batch)
        _line(axes, f"Hashwacht, batches of {batch:,}", colour, "o", _spreads(points))
    _baseline_lines(axes, along(figures, "entries", "miss lookup", batch=1_000))
    _legend_outside(canvas)


def _throughput(canvas: Canvas, figures: Sequence[Figure]) -> None:
    bars: list[tuple[str, float, str]] = []
    for what, key, form, batch in _THROUGHPUT:
        figure = pick(figures, key, form=form, batch=batch)
        per_unit = batch if figure.unit == "requests/s" else 1
        bars.append((f"{what}: Hashwacht", figure.spread.median * per_unit, _OURS[0]))
        bars += [(f"{what}: {each.name}", each.spread.median * per_unit, _OTHERS[0]) for each in figure.baselines]
    axes = canvas.subplots()
    places = range(len(bars))
    axes.barh(places, [rate for _, rate, _ in bars], color=[colour for _, _, colour in bars], height=0.7)
    axes.set_yticks(places, [name for name, _, _ in bars], fontsize=9)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("digests a second")
    axes.grid(visible=False, axis="y")
    for place, (_, rate, _) in zip(places, bars, strict=True):
        axes.annotate(_short(rate), (rate, place), (3, 0), textcoords="offset points", va="center", fontsize=9)
    axes.margins(x=0.1)
    axes.xaxis.set_major_formatter(_SHORT)


def _compile(canvas: Canvas, figures: Sequence[Figure]) -> None:
    panels = canvas.subplots(1, 2)
    for axes, key, label in zip(panels, ("compile", "compile peak"), ("seconds", "MiB at the peak"), strict=True):
        points = along(figures, "lines", key)
        _log(axes, "lines of the list", label)
        _line(axes, "Hashwacht, compile", _OURS[0], "o", _spreads(points))
        _baseline_lines(axes, points, ("sort -u",))
        _legend(axes)


def _memory(canvas: Canvas, figures: Sequence[Figure]) -> None:
    axes = _axes(canvas, "entries of the list", "MiB")
    for what, key, workers, colour in (
        ("a worker's own, 1 worker", "private", 1, _OURS[0]),
        ("a worker's own, 2 workers", "private", 2, _OURS[1]),
        ("the snapshot, once for all", "shared", 2, _OURS[2]),
    ):
        _line(axes, what, colour, "o", _spreads(along(figures, "entries", key, workers=workers)))
    _legend_outside(canvas)


def _swaps(canvas: Canvas, figures: Sequence[Figure]) -> None:
    found = [figure for figure in select(figures, "tail swap p99") if figure.series]
    if not found:
        raise NoFigure("no latencies around a swap were measured")
    axes = canvas.subplots()
    for figure, colour in zip(found, _OURS, strict=False):
        axes.plot(*zip(*figure.series, strict=True), color=colour, label=figure.what, linewidth=1)
    axes.axvline(0, color="#999999", linewidth=1)
    axes.set_yscale("log")
    axes.set_xlabel("seconds since the swap")
    axes.set_ylabel("ms, 99th percentile")
    axes.yaxis.set_major_formatter(_SHORT)
    _legend(axes)


#: Bars: what, the key of the figure, the form and the digests of a request.
_THROUGHPUT: Final = (
    ("packed, 10,000", "http", "packed", 10_000),
    ("JSON, 1,000", "http", "json", 1_000),
    ("JSON, 1", "http", "json", 1),
    ("JSON, 1,000 of 1 M", "http beside naive", "json", 1_000),
    ("a Python client, packed, 1,000", "client", "packed", 1_000),
    ("a Python client, packed, 10,000", "client", "packed", 10_000),
)

PLOTS: Final = (
    Plot(
        "batch.svg", "What a miss costs, over the size of a batch",
        "In process; all hold the same entries, in the same run. Bars reach from the smallest to the largest round.",
        _over_batch,
    ),
    Plot(
        "entries.svg", "What a miss costs, over the size of the list",
        "In process. The peers are asked in batches of 1,000.", _over_entries,
    ),
    Plot(
        "throughput.svg", "Digests a second, one worker, beside peers",
        "HTTP on loopback, 16 connections; a Python client has one, and asks Redis too. The scale is logarithmic.",
        _throughput,
    ),
    Plot("compile.svg", "Compiling a list", "The same list, the same page cache, two processors for each.", _compile),
    Plot(
        "memory.svg", "Memory of the workers, over the size of the list",
        "A worker's own is what no other process shares; the snapshot is mapped, and in memory once for all workers.",
        _memory,
    ),
    Plot(
        "swap.svg", "Replies while a snapshot is swapped",
        "An open loop at half of the peak; latency counts from when a request was due. All swaps of a run together.",
        _swaps,
    ),
)  # fmt: skip


def _entries_of_peers(figures: Sequence[Figure]) -> float | str:
    """Give the largest list that all peers held."""
    found = select(figures, "miss lookup")
    most = max(len(figure.baselines) for figure in found)
    return max(figure.at["entries"] for figure in found if len(figure.baselines) == most)


def _axes(canvas: Canvas, across: str, up: str) -> Axes:
    axes = canvas.subplots()
    _log(axes, across, up)
    return axes


def _log(axes: Axes, across: str, up: str) -> None:
    axes.set(xscale="log", yscale="log", xlabel=across, ylabel=up)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(_SHORT)


def _line(axes: Axes, label: str, colour: str, marker: str, points: Points) -> None:
    places = [place for place, _ in points]
    medians = [spread.median for _, spread in points]
    below = [spread.median - spread.least for _, spread in points]
    above = [spread.most - spread.median for _, spread in points]
    axes.errorbar(
        places, medians, yerr=[below, above], label=label, color=colour, marker=marker, markersize=4, capsize=2,
        linewidth=1.5, elinewidth=0.8,
    )  # fmt: skip


def _baseline_lines(axes: Axes, points: Sequence[tuple[float, Figure]], names: Iterable[str] | None = None) -> None:
    lines = baselines_along(points)
    for (name, line), colour, marker in zip(lines.items(), cycle(_OTHERS), cycle(_MARKERS), strict=False):
        if names is None or name in names:
            _line(axes, name, colour, marker, [(place, baseline.spread) for place, baseline in line])


def _spreads(points: Sequence[tuple[float, Figure]]) -> Points:
    return [(place, figure.spread) for place, figure in points]


def _legend(axes: Axes) -> None:
    axes.legend(frameon=False, fontsize=9)


def _legend_outside(canvas: Canvas) -> None:
    canvas.legend(loc="outside right center", frameon=False, fontsize=9)


def _short(value: float) -> str:
    """Say a number in few letters: 377 k, 26 M."""
    for unit, name in ((1_000_000, " M"), (1_000, " k")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return number(value)


_SHORT: Final = FuncFormatter(lambda value, _: _short(value))
