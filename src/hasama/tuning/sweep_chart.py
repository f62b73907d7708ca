"""The plot that a sweep keeps up to date: how the score improved, and how it depends on each parameter."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hasama.files import replacing
from hasama.runs.reports.plot import logarithmic
from hasama.tuning.search_space import Choice, Space
from hasama.tuning.study import Outcome

COLUMNS = 3
FIGURE = "KID x 1000"
WIDE = 10  # times the best figure: from there on the axis is logarithmic
LOOKS: dict[str, dict[str, Any]] = {
    "complete": {"marker": "o", "color": "tab:blue"},
    "worse than the median": {"marker": "x", "color": "tab:gray"},
    "the doctor": {"marker": "^", "color": "tab:red"},
    "broke down": {"marker": "s", "color": "tab:orange"},
    "stopped by hand": {"marker": "D", "color": "tab:purple"},
}
"""How a trial is drawn, by how it ended: 'complete', or how the reason for pruning begins; others count as broken."""


def plot_sweep(
    found: Sequence[Outcome], space: Mapping[str, Space], kimg: float, rungs: Sequence[float], path: Path
) -> None:
    """Draw the history and a panel for each parameter; nothing before the first trial has ended.

    Args:
        found: all trials.
        space: what was varied.
        kimg: a trial's length.
        rungs: shares of it at which trials get a score.
        path: a PNG, written atomically.
    """
    ended = [one for one in found if one.state in ("complete", "pruned")]
    if not ended:
        return
    from matplotlib.figure import Figure  # as in `hasama.runs.reports.plot`

    rows = 1 + math.ceil(len(space) / COLUMNS)
    figure = Figure(figsize=(4.2 * COLUMNS, 3.2 * rows), layout="constrained")
    grid = figure.add_gridspec(rows, COLUMNS)
    top = _top(ended)
    _history(figure.add_subplot(grid[0, :2]), ended, top)
    _rungs(figure.add_subplot(grid[0, 2]), ended, [share * kimg for share in rungs])
    for place, (name, values) in enumerate(space.items()):
        _parameter(figure.add_subplot(grid[1 + place // COLUMNS, place % COLUMNS]), name, values, ended, top)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def look(one: Outcome) -> str:
    """The key of `LOOKS` that fits a trial."""
    if one.state == "complete":
        return "complete"
    return next((name for name in LOOKS if one.reason.startswith(name)), "broke down")


def _top(ended: Sequence[Outcome]) -> float:
    """The height at which trials without a score are drawn."""
    figures = [one.figure for one in ended if one.figure is not None]
    return 1000 * max(figures, default=0.001) * 1.1


def _height(one: Outcome, top: float) -> float:
    return top if one.figure is None else 1000 * one.figure


def _history(axes: Any, ended: Sequence[Outcome], top: float) -> None:
    """Each trial's last figure, and the best so far as a line."""
    labelled: set[str] = set()
    for one in ended:
        name = look(one)
        axes.scatter(one.number, _height(one, top), label=None if name in labelled else name, **LOOKS[name])
        labelled.add(name)
        if name == "the doctor":
            found = one.reason.partition(": ")[2].partition(" at ")[0]
            note = axes.annotate(f"  {found}", (one.number, _height(one, top)), fontsize=7, va="center", clip_on=True)
            note.set_in_layout(False)
    best, line = math.inf, []
    for one in ended:
        if one.state == "complete" and one.figure is not None:
            best = min(best, one.figure)
            line.append((one.number, 1000 * best))
    axes.plot(*zip(*line, strict=True) if line else ([], []), color="tab:blue", linewidth=1, drawstyle="steps-post")
    axes.set(xlabel="trial", ylabel=FIGURE, title="history")
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)  # there is no trial 0.2
    _scale(axes, ended)
    axes.legend(fontsize=8, framealpha=0.6)


def _rungs(axes: Any, ended: Sequence[Outcome], kimg: Sequence[float]) -> None:
    """Every trial's score at each rung."""
    for one in ended:
        points = [(kimg[rung - 1], 1000 * figure) for rung, figure in one.figures.items()]
        if points:
            axes.plot(*zip(*points, strict=True), linewidth=0.8, **LOOKS[look(one)] | {"markersize": 3})
    axes.set(xlabel="kimg", title="on the way")
    _scale(axes, ended)


def _parameter(axes: Any, name: str, space: Space, ended: Sequence[Outcome], top: float) -> None:
    """The figure against one parameter."""
    places = None
    if isinstance(space, Choice):
        numbers = all(isinstance(value, (int, float)) for value in space.values)
        places = {value: place for place, value in enumerate(sorted(space.values) if numbers else space.values)}
    for one in ended:
        if name in one.parameters:
            value: Any = one.parameters[name]
            axes.scatter(value if places is None else places.get(value), _height(one, top), **LOOKS[look(one)])
    if places is None:
        logarithmic(axes, "x", [one.parameters[name] for one in ended if name in one.parameters])
    else:
        axes.set_xticks(list(places.values()), [str(value) for value in places])
        axes.set_xlim(-0.5, len(places) - 0.5)
    axes.set(xlabel=name.replace("_", " "), ylabel=FIGURE)
    _scale(axes, ended)


def _scale(axes: Any, ended: Sequence[Outcome]) -> None:
    """Logarithmic where trials differ by orders of magnitude."""
    figures = [figure for one in ended for figure in one.figures.values()]
    if figures and min(figures) > 0 and max(figures) > WIDE * min(figures):
        logarithmic(axes, "y", figures)
    axes.grid(alpha=0.3)
