"""Plots: the losses that a run keeps up to date, generated points, and the signals of its health."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hasama.files import replacing
from hasama.health.findings import is_number
from hasama.health.quality import Quality
from hasama.metrics.modes import NEAR

if TYPE_CHECKING:
    from hasama.metrics.modes import Mixture, Points

POINTS_MOST = 2000
NARROW = 6
"""Largest value over least: up to it, the ticks of a logarithmic axis are evenly spaced."""
SUBDIVIDED = ((30, (1, 2, 5)), (100, (1, 3)))
"""Up to which largest value over least there are which ticks in each power of ten; beyond, one."""
NAMES = {
    "loss_discriminator": "discriminator",
    "loss_generator": "generator",
    "loss_reconstruction": "reconstruction",
    "loss_divergence": "divergence from the prior",
    "loss_heads": "heads at the frozen network",
    "loss_vision": "generator, by the heads",
    "accuracy_real": "reals taken for real",
    "accuracy_fake": "fakes taken for fake",
    "diversity": "diversity, in pixels",
    "diversity_features": "diversity, in features",
    "covered": "reals covered",
    "repeats": "fakes with a twin",
    "nearest": "distance to the nearest real",
    "unrest": "distance to the EMA generator",
    "overfit": "reals learnt by heart",
    "gradient_generator": "generator",
    "gradient_discriminator": "discriminator",
}
SHARES = (-0.02, 1.02)
"""Limits of an axis of shares. (By its own limits a curve that is constant shows nothing but rounding.)"""

ROW, COLUMNS = 4, 3
"""So many curves are named in one row above a panel; more in columns, for a longer row takes the axes' width."""


def plot_losses(log: list[dict[str, Any]], path: Path) -> None:
    """Draw the losses, the discriminator's accuracy and the quality, where there are such, against kimg.

    Args:
        log: `Run.log()`; with fewer than two lines nothing is drawn.
        path: a PNG, written atomically.
    """
    log = _finite(log)
    if len(log) < 2:
        return
    from matplotlib.figure import Figure  # start-up time: 0.3 s

    panels = [
        (title, names)
        for title, prefix in (("loss", "loss_"), ("accuracy of the discriminator", "accuracy_"))
        if (names := sorted({name for line in log for name in line if name.startswith(prefix)}))
    ]
    looks = [look for line in log if (look := Quality.of(line)) is not None]
    count = len(panels) + (len(looks) > 1)
    if not count:  # a damaged log: there is nothing to be drawn
        return
    figure = Figure(figsize=(9, 3.2 * count), layout="constrained")
    axis = list(np.atleast_1d(figure.subplots(count, 1)))
    for axes, (title, names) in zip(axis, panels, strict=False):
        for name in names:
            _draw(axes, log, name)
        axes.set(ylabel=title)
        axes.set_ylim(*(_limits(log, names) if title == "loss" else SHARES))
        columns = len(names) if len(names) <= ROW else COLUMNS
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False)
    if len(looks) > 1:
        _draw_quality(axis[-1], looks)
    for axes in axis:
        axes.set(xlabel="thousands of images seen (kimg)")
        axes.grid(alpha=0.3)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def _finite(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines without what is not a finite number, which cannot be drawn."""
    return [{name: value for name, value in line.items() if is_number(value)} for line in log]


def _values(log: list[dict[str, Any]], names: list[str]) -> list[float]:
    """All that the log has under these names."""
    return [line[name] for line in log for name in names if name in line]


def _limits(log: list[dict[str, Any]], names: list[str]) -> tuple[float, float]:
    """Limits of the axis that show the losses well: the middle 98 % of the values, and a margin."""
    low, high = np.quantile(_values(log, names), [0.01, 0.99])
    margin = 0.1 * (high - low) + 1e-3
    return float(low - margin), float(high + margin)


def logarithmic(axes: Any, which: Literal["x", "y"], values: Sequence[Any]) -> None:
    """A logarithmic axis with ticks that have numbers, two of them or more, wherever the values lie.

    Matplotlib's own has a tick at each power of ten, of which there may be none among the values.

    Args:
        axes: Matplotlib's.
        which: of its two axes.
        values: numbers that are shown, all above 0.
    """
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator  # start-up time

    getattr(axes, f"set_{which}scale")("log")
    axis, wide = getattr(axes, f"{which}axis"), max(values, default=1) / min(values, default=1)
    steps = next((subs for most, subs in SUBDIVIDED if wide <= most), (1,))
    even = 1 < wide <= NARROW  # of one value, matplotlib shows a power of ten to either side
    axis.set_major_locator(MaxNLocator(4) if even else LogLocator(subs=(1,) if wide == 1 else steps))
    axis.set_major_formatter("{x:.4g}")  # 0.2, and not 2 times a power of ten
    axis.set_minor_locator(NullLocator())


def _draw(axes: Any, log: list[dict[str, Any]], name: str) -> None:
    """One curve: each logged value thin, a running mean over a fortieth of them thick."""
    points = [(line["images_seen"] / 1000, line[name]) for line in log if name in line]
    points = points[:: max(1, len(points) // POINTS_MOST)]
    kimg, values = np.array(points, dtype=float).T
    window = max(1, len(values) // 40)
    sums = np.cumsum(np.concatenate([[0.0], values]))
    starts = np.maximum(0, np.arange(1, len(values) + 1) - window)
    means = (sums[1:] - sums[starts]) / (np.arange(1, len(values) + 1) - starts)
    (line,) = axes.plot(kimg, means, label=NAMES.get(name, name), linewidth=1.6)
    if window > 1:
        axes.plot(kimg, values, color=line.get_color(), linewidth=0.5, alpha=0.35)


def _draw_quality(axes: Any, looks: list[Quality]) -> None:
    """The quality curve with its interval of 95 %, and the best look."""
    kimg, best = [look.images_seen / 1000 for look in looks], min(looks, key=lambda look: look.kid)
    axes.plot(kimg, [look.kid for look in looks], marker=".", label="KID (lower is better)")
    axes.fill_between(kimg, [look.low for look in looks], [look.high for look in looks], alpha=0.2, linewidth=0)
    axes.plot(
        best.images_seen / 1000, best.kid, "o", label=f"the best: {best.kid:.3g} at {best.images_seen / 1000:g}"
    )
    axes.set(ylabel="KID")
    kids = [look.kid for look in looks]
    if min(kids) > 0:
        logarithmic(axes, "y", kids)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)


def plot_points(points: "Points", mixture: "Mixture", path: Path) -> None:
    """Draw generated points and the modes that they should lie at.

    Args:
        points: [n, 2].
        mixture: its modes are drawn as circles, within which a point is of high quality.
        path: a PNG, written atomically.
    """
    from matplotlib.figure import Figure  # start-up time
    from matplotlib.patches import Circle  # start-up time

    figure = Figure(figsize=(6, 6), layout="constrained")
    axes, edge = figure.subplots(), 1.35 * mixture.reach
    axes.scatter(*points.T, s=4, alpha=0.4, linewidths=0, label="generated")
    for centre in mixture.centres:
        axes.add_patch(Circle((centre[0], centre[1]), NEAR * mixture.sigma, fill=False, color="tab:red", lw=0.8))
    axes.set(xlim=(-edge, edge), ylim=(-edge, edge), aspect="equal")
    outside = int((abs(points) > edge).any(1).sum())
    missing = f", {outside} of them outside this picture" if outside else ""
    axes.set_title(
        f"{len(points)} generated points{missing};\ncircles: {NEAR:g} standard deviations around the modes",
        fontsize="medium",  # all of it, in the largest case, within the picture
    )
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


# --- the doctor's plot ----------------------------------------------------------------------------

SIGNALS: dict[str, tuple[str, ...]] = {
    "loss": tuple(name for name in NAMES if name.startswith("loss_")),
    "accuracy of the discriminator": ("accuracy_real", "accuracy_fake"),
    "variety (reals: 1)": ("diversity", "diversity_features", "colours", "covered"),
    "distance from the reals": ("distance",),
    "copies": ("repeats", "nearest"),
    "unrest, learning by heart": ("unrest", "overfit"),
    "size of the gradients": ("gradient_generator", "gradient_discriminator"),
}
"""The panels, and what each shows."""

SHADES, HATCHES = 6, ("", "//", "..", "xx")
"""A finding is shaded in one of so many colours; once all are taken, they come again, hatched."""

LOGARITHMIC = ("size of the gradients",)
GULF = 1e6
"""Largest gradient over least: from there on the axis ends evenly at 0, or those that vanish would take all of it."""


def health_plot(log: list[dict[str, Any]], spans: list[tuple[str, int, int]]) -> bytes | None:
    """All signals of a run's health against kimg, as a PNG; None if there are none to show.

    Args:
        log: `Run.log()`.
        spans: (title, first, last image seen) of each finding, shaded in every panel.
    """
    log = _finite(log)
    there = {name for line in log for name in line}
    panels = [(title, [n for n in names if n in there]) for title, names in SIGNALS.items() if there & {*names}]
    if len(log) < 2 or not panels:
        return None
    from matplotlib.figure import Figure  # start-up time

    figure = Figure(figsize=(9, 2.3 * len(panels)), layout="constrained")
    for axes, (title, names) in zip(np.atleast_1d(figure.subplots(len(panels), 1, sharex=True)), panels, strict=True):
        for name in names:
            _draw(axes, log, name)
        _shade(axes, spans, named=axes is figure.axes[0])  # where the legend tells what is shaded
        axes.set_ylabel(title, fontsize=8)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
        axes.grid(alpha=0.3)
        if title in LOGARITHMIC:
            values = _values(log, names)
            if 0 < max(values) < GULF * min(values):
                logarithmic(axes, "y", values)
            else:
                axes.set_yscale("symlog", linthresh=1e-3)
        elif title == "loss":
            axes.set_ylim(*_limits(log, names))
        elif title.startswith("accuracy"):
            axes.set_ylim(*SHARES)
    figure.axes[-1].set_xlabel("thousands of images seen (kimg)")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100, format="png")
    return buffer.getvalue()


def _shade(axes: Any, spans: list[tuple[str, int, int]], named: bool) -> None:
    """Shade the span of each finding so that no two of them look alike."""
    from matplotlib.colors import to_rgba  # start-up time

    for number, (title, first, last) in enumerate(spans):
        colour, hatch = f"C{3 + number % SHADES}", HATCHES[number // SHADES % len(HATCHES)]
        face, edge = to_rgba(colour, 0.12), to_rgba(colour, 0.35)
        look: dict[str, Any] = {"facecolor": face, "edgecolor": edge, "hatch": hatch, "linewidth": 0}
        axes.axvspan(first / 1000, last / 1000 + 1e-3, label=title if named else None, **look)
