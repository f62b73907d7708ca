"""Does the autopilot rescue trainings that would fail?

    python benchmarks/autopilot.py --data FOLDER [--seeds 0] [--only NAME ...]

Each of the failures of benchmarks/doctor.py that flags induced (wrong pictures cannot be rescued) is trained twice,
as it is and with `--autopilot`, and beside them a healthy training: the same command without what induces the
failure. All are judged by coverage: the share of 1,000 real pictures in whose neighbourhood (k = 5) one of 1,000
generated ones lies, in the doctor's fixed random projection (in VGG19 features trainings as short as these cover
nothing, the healthy ones neither). A run counts as rescued if its coverage is at least 0.9 of the healthy one's;
where that is below 0.05 nothing is said. What was trained is kept.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import hasama
from doctor import FAILURES, Case, source_of, train
from hasama.generators.sampling import draw_latents, generate_all
from hasama.health.signals import project
from hasama.metrics.neighbours import coverage
from hasama.pictures.tensors import to_images
from hasama.runs.autopilot import interventions
from hasama.runs.folder import Run

OUT = Path(__file__).parent / "out" / "autopilot"
RESCUABLE = (
    "nan", "divergence", "discriminator-wins", "saturation", "momentum", "generator-wins", "collapse-dense",
    "generator-too-fast", "dead-start",
)  # fmt: skip
ANSWERS = {True: "yes", False: "no", None: "-"}
COUNT, NEIGHBOURS, ENOUGH, TELLING = 1000, 5, 0.9, 0.05
HARMLESS = ("--preset", "--size", "--width", "--batch", "--kimg")


def healthy(case: Case) -> Case:
    """The same command without what induces the failure."""
    kept, flag = [], "--preset"
    for word in case.words.split():
        flag = word if word.startswith("--") else flag
        kept += [word] * (flag in HARMLESS)
    return case._replace(words=" ".join(kept))


def covered(run: Run, source: str) -> float:
    """The coverage of a run's generator; 0 if it has none."""
    if not run.generator.exists():
        return 0.0
    kept = run.folder / "coverage.json"
    if not kept.exists():
        pictures = hasama.open_pictures(source, run.recipe())
        order = np.random.default_rng(0).permutation(len(pictures))[:COUNT]
        generator = hasama.load_generator(run.generator)
        fakes = generate_all(generator, draw_latents(1, COUNT, generator.latent_size))
        rows = [project(to_images(pixels, "cpu")) for pixels in (pictures.take(order), fakes)]
        kept.write_text(json.dumps(coverage(rows[0], rows[1], NEIGHBOURS)))
    return json.loads(kept.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=RESCUABLE, default=RESCUABLE)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    rows = []
    for seed in given.seeds:
        for name in given.only:
            case = FAILURES[name]
            well = healthy(case)
            reference = f"healthy-{'-'.join(well.words.replace('--', '').split())}-{case.source}"
            sides = {name: case, f"{name}-rescued": case._replace(words=f"{case.words} --autopilot"), reference: well}
            source = source_of(case, given.data, seed, given.out)
            for side, what in sides.items():
                train(side, what, seed, given.data, given.out)
            figures = [covered(Run(given.out / f"{side}-{seed}"), source) for side in sides]
            done = [one.finding for one in interventions(Run(given.out / f"{name}-rescued-{seed}"))]
            good = figures[1] >= ENOUGH * figures[2] if figures[2] >= TELLING else None
            rows.append((name, seed, *figures, ", ".join(done), good))
            print(rows[-1], flush=True)
    print("\n| failure | seed | as it is | with --autopilot | healthy | found | rescued |  (coverage)")
    print("|---|---:|---:|---:|---:|---|---|")
    for name, seed, ill, mended, well, done, good in rows:
        print(f"| {name} | {seed} | {ill:.3f} | {mended:.3f} | {well:.3f} | {done} | {ANSWERS[good]} |")
    answers = [row[-1] for row in rows if row[-1] is not None]
    print(f"\nrescued: {sum(answers)} of {len(answers)}")


if __name__ == "__main__":
    main()
