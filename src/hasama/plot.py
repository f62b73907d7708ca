"""The loss plot that a run keeps up to date."""

from pathlib import Path
from typing import Any

import numpy as np

from hasama.files import replacing

POINTS_MOST = 2000
NAMES = {
    "loss_discriminator": "discriminator",
    "loss_generator": "generator",
    "loss_reconstruction": "reconstruction",
    "loss_divergence": "divergence from the prior",
    "accuracy_real": "reals taken for real",
    "accuracy_fake": "fakes taken for fake",
}


def plot_losses(log: list[dict[str, Any]], path: Path) -> None:
    """Draw the losses, and the discriminator's accuracy where there is one, against kimg.

    Args:
        log: `Run.log()`; with fewer than two lines nothing is drawn.
        path: a PNG, written atomically.
    """
    if len(log) < 2:
        return
    from matplotlib.figure import Figure  # 0.3 s that `hasama --help` should not pay

    panels = [
        (title, names)
        for title, prefix in (("loss", "loss_"), ("accuracy of the discriminator", "accuracy_"))
        if (names := sorted({name for line in log for name in line if name.startswith(prefix)}))
    ]
    figure = Figure(figsize=(9, 3.2 * len(panels)), layout="constrained")
    for axes, (title, names) in zip(np.atleast_1d(figure.subplots(len(panels), 1)), panels, strict=True):
        for name in names:
            _draw(axes, log, name)
        axes.set(xlabel="thousands of images seen (kimg)", ylabel=title)
        axes.set_ylim(*(_limits(log, names) if title == "loss" else (-0.02, 1.02)))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(names), frameon=False)
        axes.grid(alpha=0.3)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def _limits(log: list[dict[str, Any]], names: list[str]) -> tuple[float, float]:
    """What shows the losses well: all but the two hundredths that lie farthest out, and a margin."""
    low, high = np.quantile([line[name] for line in log for name in names if name in line], [0.01, 0.99])
    margin = 0.1 * (high - low) + 1e-3
    return float(low - margin), float(high + margin)


def _draw(axes: Any, log: list[dict[str, Any]], name: str) -> None:
    """One figure: each logged value thin, a running mean over a fortieth of them thick."""
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
