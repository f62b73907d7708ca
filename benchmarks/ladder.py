"""Every architecture on the same pictures for the same time: a table of two KIDs, coverage and speed, with grids.

    python benchmarks/ladder.py train SOURCE --only dcgan r3gan [--core-minutes 30]
    python benchmarks/ladder.py table SOURCE

Each training is the plain command with `--hours`, on one thread: so each has the length that the machine makes in the
time, and rates fall within it. The table says how many core-minutes each has really had, for a machine that was busy
when the length was chosen is faster later. Runs that were stopped go on where they stopped. `table` reads nothing but
the source and the run folders that are there; it leaves table.md, a grid of each run and sheet.png beside them, and
in each run nearest.png: generated pictures, each with the training pictures nearest to it, which tell copies.

Two networks judge, for a generator can please one of them by what people do not see.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from hasama.generators.generator_file import TrainedGenerator
    from hasama.perception.extractors import Extractor
    from hasama.pictures.dataset import Pictures

OUT = Path(__file__).parent / "out" / "ladder"

# What is trained: a recipe each, everything else alike.
COMMON = ["--size", "64", "--seed", "0", "--threads", "1"]
RUNS: dict[str, list[str]] = {
    "dcgan": ["dcgan"],
    "progressive": ["progressive"],
    "msg": ["msg"],
    "stylegan": ["stylegan"],
    "r3gan": ["r3gan"],
    "vision-aided": ["vision-aided"],
    "fast": ["fast"],
}

COUNT, NEIGHBOURS, LATENT_SEED, SHUFFLE_SEED = 5000, 5, 1, 0
NETWORKS = ("vgg19", "efficientnet")
"""That judge, as `hasama evaluate --features` calls them; the first one's features decide the order and coverage."""
LIKENESS = "efficientnet"
"""In whose features the nearest training pictures are sought: the second network's, whose KIDs no sweep minimises."""
SHOWN, NEAREST = 16, 4
FLOOR = "*real pictures*"
HEAD = ("run", "kimg", "core-minutes", "images per core-second")
Features = dict[str, "torch.Tensor"]
"""{network: features [N, F]}"""


def spent(folder: Path) -> float:
    """Core-minutes that a run has had."""
    file = folder / "ladder.json"
    return json.loads(file.read_text())["core_minutes"] if file.exists() else 0.0


def train(source: str, name: str, folder: Path, minutes: float, more: list[str]) -> None:
    """Train to the end of the length that fits the time, in one go or in several."""
    from hasama.runs.folder import Run

    run, before = Run(folder), spent(folder)
    if run.exists() and run.images_seen() >= run.recipe().images:
        print(f"{name}: is trained")
        return
    length = ["--hours", str(minutes / 60)]
    command = [sys.executable, "-m", "hasama", "train", source, *RUNS[name], *COMMON, *length, *more]
    command += ["--out", str(folder)]
    child = subprocess.Popen(command)
    process = psutil.Process(child.pid)
    used = 0.0
    while child.poll() is None:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            break
        used = (times.user + times.system) / 60
        time.sleep(0.5)
    if child.wait():
        sys.exit(f"{name} failed")
    (folder / "ladder.json").write_text(json.dumps({"core_minutes": before + used, "name": name}))


# --- the table ------------------------------------------------------------------------------------


@dataclass
class Row:
    """A run's figures; what it has not got is None."""

    name: str
    kid: list[tuple[float, float]]
    coverage: float
    images_seen: int | None = None
    core_minutes: float | None = None

    def cells(self) -> tuple[str, ...]:
        """As the table's head wants them."""
        seen, minutes = self.images_seen, self.core_minutes
        return (
            self.name,
            f"{seen / 1000:.0f}" if seen else "",
            f"{minutes:.1f}" if minutes else "",
            f"{seen / minutes / 60:.1f}" if seen and minutes else "",
            *(f"{1000 * mean:,.0f} ± {1000 * deviation:,.0f}" for mean, deviation in self.kid),
            f"{self.coverage:.3f}",
        )


def table(source: str, out: Path, only: list[str]) -> None:
    """Judge the runs in a folder; write table.md, a grid of each, and sheet.png."""
    import hasama
    from hasama.perception.extractors import extractor_named
    from hasama.runs.folder import Run

    runs = {name: Run(out / name) for name in only if (out / name / "generator.safetensors").is_file()}
    if not runs:
        sys.exit(f"no runs in {out}")
    extractors = {network: extractor_named(network) for network in NETWORKS}
    rows: dict[str, Row] = {}
    strips: dict[str, Image.Image] = {}
    for name, run in runs.items():
        pictures = hasama.open_pictures(source, run.recipe())
        reals = {network: real_features(pictures, out, extractor) for network, extractor in extractors.items()}
        if FLOOR not in rows:
            rows[FLOOR] = floor(reals)
            strips["real pictures"] = hasama.grid(pictures.take(shuffled(len(pictures))[:32]), 8)
        print(f"{name}: painting {COUNT} pictures", flush=True)
        generator = hasama.load_generator(run.generator)
        fakes, first = fake_features(generator, extractors)
        rows[name] = judge(name, reals, fakes, run.images_seen(), spent(run.folder))
        strips[name] = painted(generator, 32)
        hasama.save_picture(painted(generator, 64), out / f"{name}.png")
        hasama.save_picture(nearest(first, fakes[LIKENESS], pictures, reals[LIKENESS]), run.folder / "nearest.png")
    names = [extractor.name for extractor in extractors.values()]
    text = markdown(rows, names, Path(source).name, next(iter(runs.values())).recipe().size)
    (out / "table.md").write_text(text, encoding="utf-8")
    hasama.save_picture(sheet(strips), out / "sheet.png")
    print(f"\n{text}")


def shuffled(count: int) -> np.ndarray:
    """The numbers of pictures in an order that is always the same."""
    return np.random.default_rng(SHUFFLE_SEED).permutation(count)


def real_features(pictures: "Pictures", out: Path, extractor: "Extractor") -> "torch.Tensor":
    """Of all real pictures, in the shuffled order; kept for the next table."""
    import torch
    from safetensors.torch import load_file, save_file

    from hasama.perception.extractors import extract_features

    file = out / f"real-{pictures.report.digest[:12]}-{extractor.name}.safetensors"
    if not file.is_file():
        print(f"extracting {extractor.name} of {len(pictures)} real pictures", flush=True)
        order = shuffled(len(pictures))
        batches = (pictures.take(order[first : first + 64]) for first in range(0, len(order), 64))
        unfinished = file.with_suffix(".unfinished")
        save_file({"features": torch.cat(list(extract_features(extractor, batches)))}, unfinished)
        unfinished.rename(file)
    return load_file(file)["features"]


def fake_features(generator: "TrainedGenerator", extractors: "dict[str, Extractor]") -> tuple[Features, np.ndarray]:
    """Of `COUNT` generated pictures; and the first `SHOWN` of these themselves."""
    import torch

    from hasama.generators.sampling import draw_latents, generate, labels_for
    from hasama.perception.extractors import extract_features

    found: dict[str, list[torch.Tensor]] = {network: [] for network in extractors}
    kept: list[np.ndarray] = []
    latents = draw_latents(LATENT_SEED, COUNT, generator.latent_size)
    for pixels in generate(generator, latents, labels_for(generator, COUNT)):
        kept.append(pixels[: max(0, SHOWN - sum(map(len, kept)))])
        for network, extractor in extractors.items():
            found[network] += extract_features(extractor, pixels)
    return {network: torch.cat(rows) for network, rows in found.items()}, np.concatenate(kept)


def judge(name: str, reals: Features, fakes: Features, images_seen: int, minutes: float) -> Row:
    """KIDs against all reals; coverage of as many of them as there are fakes, on which it depends."""
    from hasama.metrics.distances import kid
    from hasama.metrics.neighbours import coverage

    kids = [kid(reals[network], fakes[network]) for network in NETWORKS]
    first = NETWORKS[0]
    return Row(name, kids, coverage(reals[first][:COUNT], fakes[first], NEIGHBOURS), images_seen, minutes)


def floor(reals: Features) -> Row:
    """One half of the real pictures judged against the other: what a perfect generator would get."""
    half = min(COUNT, len(reals[NETWORKS[0]]) // 2)
    one, other = ({network: rows[at : at + half] for network, rows in reals.items()} for at in (0, half))
    row = judge(FLOOR, one, other, 0, 0.0)
    return Row(FLOOR, row.kid, row.coverage)


def nearest(pixels: np.ndarray, fakes: "torch.Tensor", pictures: "Pictures", reals: "torch.Tensor") -> "Image.Image":
    """A row for each generated picture: first it, then the real ones with the nearest features (Euclidean)."""
    import torch

    import hasama

    apart = torch.cdist(fakes[: len(pixels)], reals)
    found = shuffled(len(pictures))[apart.topk(min(NEAREST, len(pictures)), largest=False).indices.numpy()]
    rows = [np.concatenate([one[None], pictures.take(near)]) for one, near in zip(pixels, found, strict=True)]
    return hasama.grid(np.concatenate(rows), len(rows[0]))


def markdown(rows: dict[str, Row], networks: list[str], source: str, size: str) -> str:
    """The table, best KID of the first network first."""
    ordered = sorted(rows.values(), key=lambda row: (row.name != FLOOR, row.kid))
    head = (*HEAD, *(f"KID x 1000, {network}" for network in networks), f"coverage, {networks[0]}")
    lines = [
        f"### {source} at {size} pixels, judged by {' and '.join(networks)}",
        "",
        "| " + " | ".join(head) + " |",
        "|---" + "|---:" * (len(head) - 1) + "|",
        *("| " + " | ".join(row.cells()) + " |" for row in ordered),
        "",
        f"KID of {COUNT:,} generated pictures (averaged generator, latents of seed {LATENT_SEED}) against all real "
        f"ones, with the deviation of subsets of 1,000; coverage with k={NEIGHBOURS} of {COUNT:,} real ones. The "
        "first row is one half of the real pictures against the other. Comparable only with figures of the same "
        "extractor, size and pictures. nearest.png in each run: generated pictures on the left, beside each the "
        f"{NEAREST} training pictures with the nearest features.",
    ]
    return "\n".join(lines) + "\n"


def painted(generator: "TrainedGenerator", count: int) -> "Image.Image":
    """A grid of eight columns; of each class in turn if there are classes."""
    import hasama
    from hasama.generators.sampling import generate_all, labels_for

    latents = hasama.draw_latents(LATENT_SEED, count, generator.latent_size)
    return hasama.grid(generate_all(generator, latents, labels_for(generator, count)), 8)


def sheet(strips: "dict[str, Image.Image]") -> "Image.Image":
    """The grids one above the other, their names on the left."""
    from PIL import Image, ImageDraw, ImageFont

    margin, gap = 190, 12
    width = margin + max(strip.width for strip in strips.values())
    height = sum(strip.height + gap for strip in strips.values()) - gap
    canvas = Image.new("RGB", (width, height), "white")
    pen, font, top = ImageDraw.Draw(canvas), ImageFont.load_default(24), 0
    for name, strip in strips.items():
        pen.text((12, top + strip.height / 2), name, "black", font, anchor="lm")
        canvas.paste(strip.convert("RGB"), (margin, top))
        top += strip.height + gap
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["train", "table"])
    parser.add_argument("source")
    parser.add_argument("--only", nargs="+", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--core-minutes", type=float, default=30.0)
    parser.add_argument("--out", type=Path, default=OUT)
    given, more = parser.parse_known_args()
    if given.what == "train":
        for name in given.only:
            train(given.source, name, given.out / name, given.core_minutes, more)
        return
    table(given.source, given.out, given.only)


if __name__ == "__main__":
    main()
