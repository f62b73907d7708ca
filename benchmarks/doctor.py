"""Does the doctor name what is wrong, in time, and leave healthy trainings alone?

    python benchmarks/doctor.py --data FOLDER [--seeds 0 1 2] [--only NAME ...] [--jobs 1]

FOLDER holds mnist-train.npz and kaokore-128.zip. Each case is a plain `hasama train` of a minute or two with one
thread. FAILURES are induced by the flags or the pictures that stand there; a case counts as named if one of the
findings that it expects was made before half of the run (of what can be serious the warnings of the first steps do
not count). HEALTHY trainings may have no serious finding at any time.
Findings are functions of the log: they are made anew from the logs by the code at hand, look by look, as they were
while training. Thresholds in hasama/doctor/health.py were tuned on the seeds from 100 on; report others.
What was trained is kept: the table is made from the run folders, and only what is missing is trained.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

import hasama
from hasama.health.checks import examine
from hasama.runs.folder import Run

OUT = Path(__file__).parent / "out" / "doctor"
PROBE = ["--health-kimg", "3", "--threads", "1", "--sample-kimg", "1000"]


class Case(NamedTuple):
    """A training: pictures, the command's words, what should be found (nothing: healthy), how it is induced."""

    source: str
    words: str
    expected: tuple[str, ...] = ()
    how: str = ""


MILD = ("partial-collapse", "few-colours", "memorisation", "overfitting", "oscillation")  # never more than warnings

SMALL = "dcgan --size 32 --width 16"

FAILURES: dict[str, Case] = {
    "nan": Case(
        "mnist", "dense --kimg 40 --objective wasserstein --generator-lr 1 --discriminator-lr 1",
        ("not-finite", "divergence"), "rates of 1 with an unbounded loss",
    ),
    "divergence": Case(
        "mnist", f"{SMALL} --kimg 30 --objective wasserstein --discriminator-norm none --generator-lr 5e-3 "
        "--discriminator-lr 5e-3", ("divergence",), "Wasserstein without a penalty, large rates",
    ),
    "discriminator-wins": Case(
        "digits", f"{SMALL} --kimg 90 --discriminator-lr 2e-3 --generator-lr 1e-5",
        ("discriminator-wins",), "a discriminator 200 times as fast",
    ),
    "saturation": Case(
        "kaokore", f"{SMALL} --kimg 60 --objective minimax --discriminator-lr 1e-3 --generator-lr 2e-5",
        ("discriminator-wins", "dead-start"), "the saturating loss of the first paper, a fast discriminator",
    ),
    "momentum": Case(
        "digits", "dense --batch 64 --kimg 90 --generator-lr 3e-3 --discriminator-lr 3e-3 --generator-betas 0.9 0.99 "
        "--discriminator-betas 0.9 0.99", ("discriminator-wins", "mode-collapse"), "large rates, momentum for both",
    ),
    "generator-wins": Case(
        "mnist", f"{SMALL} --kimg 90 --discriminator-lr 1e-6 --generator-lr 2e-3",
        ("generator-wins", "mode-collapse"), "a discriminator that hardly learns",
    ),
    "collapse-dense": Case(
        "mnist", "dense --batch 64 --kimg 90 --generator-lr 5e-3 --generator-betas 0.9 0.999",
        ("mode-collapse", "partial-collapse", "discriminator-wins"), "a generator 25 times as fast, with momentum",
    ),
    "generator-too-fast": Case(
        "kaokore", f"{SMALL} --kimg 90 --generator-lr 2e-2", ("generator-wins", "mode-collapse"),
        "a generator 100 times as fast",
    ),
    "partial-collapse": Case(
        "mnist", f"{SMALL} --kimg 90 --latent-size 1", ("partial-collapse", "mode-collapse"),
        "one number to paint from",
    ),
    "oscillation": Case(
        "digits", f"{SMALL} --kimg 90 --generator-lr 4e-3 --discriminator-lr 4e-3 --generator-betas 0.9 0.999 "
        "--discriminator-betas 0.9 0.999 --ema-kimg 0", ("oscillation",), "rates 20 times too large for both",
    ),
    "memorisation": Case(
        "eight faces", "dense --size 32 --batch 64 --kimg 90", ("memorisation",), "eight pictures",
    ),
    "overfitting": Case(
        "400 faces", "dcgan --size 32 --width 32 --kimg 75 --held-out 0.1", ("overfitting",),
        "360 pictures, each shown two hundred times",
    ),
    "dead-start": Case("mnist", f"{SMALL} --kimg 40 --generator-lr 1e-8", ("dead-start",), "a rate of 1e-8"),
    "all-alike": Case("alike", f"{SMALL} --kimg 20", ("all-alike",), "600 copies of a face, with a little noise"),
    "one-colour": Case("flat", f"{SMALL} --kimg 20", ("one-colour",), "600 plain surfaces"),
    "too-few": Case("three faces", f"{SMALL} --kimg 20", ("too-few",), "three pictures"),
}  # fmt: skip

HEALTHY: dict[str, Case] = {
    "digits-dense": Case("digits", "dense --kimg 150"),
    "digits-dcgan": Case("digits", "demo --width 16 --kimg 90"),
    "mnist-dcgan": Case("mnist", f"{SMALL} --kimg 90"),
    "mnist-stable": Case("mnist", "stable --size 32 --width 16 --kimg 60"),
    "kaokore-dcgan": Case("kaokore", f"{SMALL} --kimg 90"),
    "kaokore-r3gan": Case("kaokore", "r3gan --size 32 --kimg 40"),
}


def faces(data: Path, count: int, seed: int) -> np.ndarray:
    """Some of the faces, uint8 [count, 32, 32, 3]."""
    pictures = hasama.open_pictures(str(data / "kaokore-128.zip"), hasama.Recipe(size="32"))
    return pictures.take(np.random.default_rng(seed).permutation(len(pictures))[:count])


def noisy(pictures: np.ndarray, seed: int, deviation: float = 2) -> np.ndarray:
    """With a little noise, so that no two are equal."""
    noise = np.random.default_rng(seed).normal(0, deviation, pictures.shape)
    return (pictures + noise).clip(0, 255).astype(np.uint8)


MADE: dict[str, Callable[[Path, int], np.ndarray]] = {
    "eight faces": lambda data, seed: faces(data, 8, seed),
    "three faces": lambda data, seed: faces(data, 3, seed),
    "400 faces": lambda data, seed: faces(data, 400, seed),
    "alike": lambda data, seed: noisy(faces(data, 1, seed).repeat(600, 0), seed),
    "flat": lambda data, seed: noisy(
        np.random.default_rng(seed).uniform(80, 180, (600, 1, 1, 3)).repeat(32, 1).repeat(32, 2), seed
    ),
}


def source_of(case: Case, data: Path, seed: int, out: Path) -> str:
    """The word for `hasama train`; pictures that must be made are."""
    known = {"digits": "digits", "mnist": str(data / "mnist-train.npz"), "kaokore": str(data / "kaokore-128.zip")}
    if case.source in known:
        return known[case.source]
    file = out / f"{case.source.replace(' ', '-')}-{seed}.npz"
    if not file.exists():
        out.mkdir(parents=True, exist_ok=True)
        np.savez(file, images=MADE[case.source](data, seed))
    return str(file)


def train(name: str, case: Case, seed: int, data: Path, out: Path) -> None:
    """Unless it was done. What breaks down (exit code 2) is a result, too."""
    folder = out / f"{name}-{seed}"
    if (folder / "done").exists():
        return
    words = [source_of(case, data, seed, out), *case.words.split(), *PROBE, "--seed", str(seed)]
    command = [sys.executable, "-m", "hasama", "train", *words, "--out", str(folder)]
    child = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if child.returncode not in (0, 2) or not folder.is_dir():
        sys.exit(f"{name}: {child.stdout[-500:]}{child.stderr[-2000:]}")
    (folder / "done").write_text(child.stderr)
    print(f"{name} {seed}: {sorted({f['name'] for f in Run(folder).findings()})}", flush=True)


def judged(name: str, case: Case, seed: int, out: Path) -> dict:
    """What was found in a run, and whether that is right."""
    run = Run(out / f"{name}-{seed}")
    log, recipe, images = run.log(), run.recipe(), run.images()
    named, others, serious = [], {}, False
    for end, line in enumerate(log, 1):
        if "diversity" not in line and "not_finite" not in line:
            continue
        for found in examine(log[:end], recipe, images):
            serious |= found.severity == "serious"
            if found.name not in case.expected:
                others[found.name] = True
            elif found.severity == "serious" or found.name in MILD:
                named.append(line["images_seen"] / recipe.images)
    right = bool(named) and named[0] <= 0.5 if case.expected else not serious
    return {"name": name, "seed": seed, "right": right, "at": named[0] if named else None, "others": [*others]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=[*FAILURES, *HEALTHY], default=[*FAILURES, *HEALTHY])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    cases = {name: case for name, case in (FAILURES | HEALTHY).items() if name in given.only}
    todo = [(name, case, seed) for seed in given.seeds for name, case in cases.items()]
    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(lambda one: train(one[0], one[1], one[2], given.data, given.out), todo))
    results = [judged(name, case, seed, given.out) for name, case, seed in todo]
    print("\n| case | how | named before half | at (share of the run) | also found |\n|---|---|---:|---|---|")
    for name, case in cases.items():
        mine = [result for result in results if result["name"] == name]
        at = ", ".join("-" if r["at"] is None else f"{r['at']:.2f}" for r in mine)
        also = ", ".join(sorted({other for r in mine for other in r["others"]}))
        print(f"| {name} | {case.how or 'healthy'} | {sum(r['right'] for r in mine)}/{len(mine)} | {at} | {also} |")
    for title, group in (("failures named", FAILURES), ("healthy left alone", HEALTHY)):
        mine = [result for result in results if result["name"] in group]
        if mine:
            print(f"\n{title}: {sum(r['right'] for r in mine)} of {len(mine)}")
    (given.out / "results.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
