"""The pictures of docs/healthy.md: small real trainings that show the findings, with their samples and signals.

    python scripts/make_health_pictures.py [NAME ...] [--out docs/pictures/health] [--runs build/health]

Each training takes a minute or two of one core, on pictures that ship with the package (or are made from them). What
was trained is kept in --runs, so that the pictures can be drawn again at once. The flags that bring a finding about
are like those of `benchmarks/doctor.py`, on the handwritten digits.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
SMALL, HEALTHY = "dcgan --size 32 --width 16", "demo --width 16 --kimg 90"
LOOKS = ("--health-kimg", "3", "--threads", "1", "--seed", "1")
QUALITY = 88


class Case(NamedTuple):
    """A training that shows a finding.

    Attributes:
        source: a built-in name, or one of `MADE`.
        words: what follows the source in `hasama train`.
        signals: the names in the log that show it: one list a panel.
        finding: its name; by default that of the case.
        trained: the case whose training is shown; by default its own.
    """

    source: str
    words: str
    signals: tuple[tuple[str, ...], ...]
    finding: str | None = None
    trained: str | None = None


ACCURACY = ("accuracy_real", "accuracy_fake")
LOSSES = ("loss_discriminator", "loss_generator")
NAMES = {
    "accuracy_real": "reals taken for real", "accuracy_fake": "fakes taken for fake",
    "diversity": "variety (reals: 1)", "distance": "distance from the reals",
    "covered": "share of the reals covered", "repeats": "share of twins",
    "nearest": "distance from the nearest training picture (reals: 1)", "overfit": "learnt by heart",
    "contrast": "contrast of the fakes (reals: 1)", "spread_real": "how far the reals differ",
    "contrast_real": "contrast of the reals",
}  # fmt: skip

CASES: dict[str, Case] = {
    "healthy": Case("digits", HEALTHY, (ACCURACY, ("diversity", "distance")), ""),
    "mode-collapse": Case(
        "digits", "dense --batch 64 --kimg 45 --generator-lr 3e-3 --discriminator-lr 3e-3 --generator-betas 0.9 0.99 "
        "--discriminator-betas 0.9 0.99", (("diversity", "covered"), ("distance",)),
    ),
    "partial-collapse": Case(
        "digits", f"{SMALL} --kimg 45 --latent-size 1", (("repeats", "covered"), ("diversity",)),
    ),
    "discriminator-wins": Case(
        "digits", f"{SMALL} --kimg 45 --discriminator-lr 2e-3 --generator-lr 1e-5", (ACCURACY, ("distance",)),
    ),
    "generator-wins": Case(
        "digits", f"{SMALL} --kimg 45 --discriminator-lr 1e-6 --generator-lr 2e-3", (ACCURACY, ("distance",)),
    ),
    "oscillation": Case(
        "digits", f"{SMALL} --kimg 45 --generator-lr 4e-3 --discriminator-lr 4e-3 --generator-betas 0.9 0.999 "
        "--discriminator-betas 0.9 0.999 --ema-kimg 0", (("distance",), LOSSES),
    ),
    "divergence": Case(
        "digits", f"{SMALL} --kimg 30 --objective wasserstein --discriminator-norm none --generator-lr 5e-3 "
        "--discriminator-lr 5e-3", (("logit_real", "logit_fake"), LOSSES),
    ),
    "memorisation": Case("eight digits", "dense --size 32 --batch 64 --kimg 130", (("nearest", "distance"),)),
    "overfitting": Case(
        "150 digits", "dcgan --size 32 --width 24 --kimg 45 --held-out 0.15", (("overfit",), ("distance",)),
    ),
    "dead-start": Case("digits", f"{SMALL} --kimg 24 --generator-lr 1e-8", (("contrast",), ("distance",))),
    "all-alike": Case("alike", f"{SMALL} --kimg 8", (("spread_real",),)),
    "one-colour": Case("flat", f"{SMALL} --kimg 8", (("contrast_real",),)),
    "plateau": Case("digits", HEALTHY, (("distance", "diversity"),), trained="healthy"),
}  # fmt: skip


def made(source: str, folder: Path) -> str:
    """The word for `hasama train`: a built-in name as it is, else the file of what is made from the digits."""
    if source == "digits":
        return source
    import hasama

    digits = hasama.open_pictures("digits", hasama.Recipe(size="32"))
    rng = np.random.default_rng(0)
    if source == "flat":
        pictures = np.broadcast_to(rng.uniform(80, 180, (600, 1, 1, 3)), (600, 32, 32, 3))
    elif source == "alike":
        pictures = digits.take(np.arange(1)).repeat(600, 0)
    else:
        count = 8 if source == "eight digits" else 150
        pictures = digits.take(rng.permutation(len(digits))[:count])
    noise = rng.normal(0, 2, pictures.shape) if source in ("flat", "alike") else 0
    file = folder / f"{source.replace(' ', '-')}.npz"
    np.savez(file, images=(pictures + noise).clip(0, 255).astype(np.uint8))
    return str(file)


def train(name: str, case: Case, folder: Path) -> Path:
    """The case's run folder; trained unless it was."""
    run = folder / name
    if not (run / "trained").exists():
        words = [
            made(case.source, folder),
            *case.words.split(),
            "--health-kimg",
            "3",
            "--threads",
            "1",
            "--seed",
            "1",
        ]
        command = [sys.executable, "-m", "hasama", "train", *words, "--out", str(run)]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        if done.returncode not in (0, 2):  # what breaks down ends with 2
            sys.exit(f"{name}: {done.stdout[-500:]}{done.stderr[-2000:]}")
        (run / "trained").touch()
    return run


def draw(name: str, case: Case, folder: Path, out: Path) -> str:
    """A JPEG: the last samples on the left, the signals on the right; tell what was found."""
    from matplotlib.figure import Figure
    from PIL import Image

    from hasama.runs.folder import Run
    from hasama.runs.reports.diagnosis import diagnose

    run = Run(folder)
    seen = {one.finding.name: one for one in diagnose(run).seen}
    wanted = name if case.finding is None else case.finding
    if wanted and wanted not in seen:
        print(f"  {name}: NOT found; there were {sorted(seen)}")
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    grid = figure.add_gridspec(len(case.signals), 2, width_ratios=(1, 1.6))
    left = figure.add_subplot(grid[:, 0])
    with Image.open(sorted((folder / "samples").glob("*.png"))[-1]) as opened:
        samples = opened.convert("RGB")
    side = min(samples.size)
    left.imshow(samples.crop((0, 0, side, side)), interpolation="nearest")
    left.set_axis_off()
    for row, names in enumerate(case.signals):
        axes = figure.add_subplot(grid[row, 1])
        _signals(axes, run.log(), names)
        if wanted in seen:
            axes.axvspan(seen[wanted].first / 1000, seen[wanted].last / 1000, color="tab:red", alpha=0.12)
    figure.axes[-1].set_xlabel("thousands of images seen (kimg)", fontsize=8)
    file = out / f"{name}.jpg"
    figure.savefig(file, dpi=100, pil_kwargs={"quality": QUALITY}, format="jpeg")
    return f"{file.name}: {', '.join(sorted(seen)) or 'nothing found'}; {file.stat().st_size // 1024} KiB"


def _signals(axes: Any, log: list[dict[str, Any]], names: tuple[str, ...]) -> None:
    """One panel of curves against kimg."""
    for name in names:
        points = [(line["images_seen"] / 1000, line[name]) for line in log if np.isfinite(line.get(name, np.nan))]
        if points:
            kimg, values = np.array(points).T
            window = max(1, len(values) // 40)
            smooth = np.convolve(np.pad(values, (window - 1, 0), mode="edge"), np.ones(window) / window, mode="valid")
            axes.plot(kimg, smooth, label=NAMES.get(name, name.replace("_", " ")), linewidth=1.2)
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(CASES)}")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/pictures/health")
    parser.add_argument("--runs", type=Path, default=ROOT / "build/health")
    given = parser.parse_args()
    for folder in (given.out, given.runs):
        folder.mkdir(parents=True, exist_ok=True)
    for name in given.names or CASES:
        run = train(CASES[name].trained or name, CASES[name], given.runs)
        print(draw(name, CASES[name], run, given.out), flush=True)


if __name__ == "__main__":
    main()
