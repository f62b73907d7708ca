"""Does a change of the code leave every number as it was? Seeded runs of the command, as hashes, on one machine.

    python benchmarks/fingerprint.py before.json                # with the code as it is
    python benchmarks/fingerprint.py after.json --against before.json
    python benchmarks/fingerprint.py old.json --src /path/to/another/checkout/src

Every architecture trains for thirty steps; then pictures, a film, directions, a projection, figures, the doctor's
signals, mode coverage and three paintings are made of it. Weights are hashed in the order in which the checkpoint has
them, whatever they are called; pictures by their pixels. Hashes are equal only on the same machine with the same
libraries: compare two trees, never a tree with a stored file of somebody else's.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageSequence
from safetensors.torch import load_file

SHORT = ["--steps", "30", "--batch", "16", "--size", "32", "--threads", "1", "--probe-kimg", "0.1"]
RUNS: dict[str, list[str]] = {
    "dcgan": ["dcgan"],
    "dcgan-labels": ["dcgan", "--labels", "--mirror", "--label-smoothing", "0.1", "--instance-noise", "0.1"],
    "dcgan-skip": ["gentle"],
    "dense": ["dense", "--width", "32"],
    "vae": ["vae"],
    "lsgan": ["lsgan", "--spectral-norm"],
    "wgan-gp": ["wgan-gp"],
    "stable": ["stable", "--autopilot"],
    "r3gan": ["r3gan", "--labels"],
    "r3gan-ada": ["r3gan", "--augment", "ada", "--freeze-d", "1"],
    "progressive": ["progressive", "--grow-kimg", "0.1"],
    "msg": ["msg"],
    "stylegan": ["stylegan"],
    "fast": ["fast"],
}
DRAWN = 8  # numbers that a float in JSON is compared to


def main() -> None:
    """Record, and compare if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--src", type=Path, default=Path(__file__).parents[1] / "src")
    parser.add_argument("--against", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = dict(_fingerprints(Path(place), asked.src.resolve()))
    asked.out.write_text(json.dumps(found, indent=1) + "\n")
    if asked.against is None:
        return
    before = json.loads(asked.against.read_text())
    odd = [name for name in before if found.get(name) != before[name]]
    print(
        f"{len(before) - len(odd)} of {len(before)} are as before" + "".join(f"\n  differs: {name}" for name in odd)
    )
    sys.exit(bool(odd))


def _fingerprints(place: Path, src: Path) -> Iterator[tuple[str, str]]:
    paint, photo = place / "paint.png", place / "photo.png"
    _drawn(0).save(paint)
    _drawn(1).save(photo)

    def hasama(*words: object) -> str:
        own = {"PYTHONPATH": str(src), "HASAMA_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "hasama", *map(str, words)]
        done = subprocess.run(command, env=os.environ | own, cwd=place, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        return done.stdout

    for name, words in RUNS.items():
        run = place / name
        hasama("train", "digits", *words, *SHORT, "--out", run)
        yield f"{name}: weights", _weights(torch.load(run / "game.pt", weights_only=True)["game"])
        tensors = load_file(run / "generator.safetensors").values()  # in the order of their names, which may change
        yield f"{name}: generator", " ".join(sorted(map(_weights, tensors)))
        yield f"{name}: last grid", _picture(max((run / "samples").glob("*.png")))
        yield f"{name}: log", _log(run / "log.jsonl")
        yield f"{name}: doctor", _doctor(json.loads(hasama("doctor", run, "--json")))
        print(name, flush=True)
    hasama("sample", "r3gan", "--count", 9, "--seed", 3, "--truncation", 0.7, "--out", "sample.png")
    hasama("interpolate", "dcgan", "--count", 2, "--seconds", 0.5, "--out", "walk.gif")
    for run in ("stylegan", "dcgan"):
        hasama("mix", run, "--rows", "1-2", "--columns", "3-4", "--out", f"mix-{run}.png")
        hasama("directions", run, "--count", 2, "--out", f"directions-{run}.png")
        hasama("project", run, photo, "--steps", 5, "--threads", 1, "--out", f"projected-{run}.png")
    for picture in ("sample.png", "walk.gif", *(f"{what}-{run}.png" for what in ("mix", "directions", "projected")
                                                for run in ("stylegan", "dcgan"))):  # fmt: skip
        yield picture, _picture(place / picture)
    for run in ("dcgan", "stylegan"):
        yield f"evaluate {run}", _numbers(json.loads(hasama("evaluate", run, "--json", "--count", 100))["details"])
    yield (
        "coverage",
        _numbers(json.loads(hasama("coverage", "ring", "r3gan", "--kimg", 5, "--threads", 1, "--json"))["mean"]),
    )
    for recipe in ("best", "lesson", "sketch"):
        small = ["--size", 96, "--iterations", 4, "--threads", 1]
        small += ["--first-iterations", 6] + ([] if recipe == "lesson" else ["--smallest", 64])
        hasama("style", photo, paint, "--recipe", recipe, *small, "--out", f"{recipe}.png")
        yield f"style {recipe}", _picture(place / f"{recipe}.png")


def _drawn(seed: int) -> Image.Image:
    """A picture of waves, 120 wide and 96 high."""
    y, x = np.mgrid[:96, :120] / 24.0
    waves = [np.sin(x * (1 + seed + k) + np.cos(y * (2 + k - seed)) * 2) for k in range(3)]
    return Image.fromarray(((np.stack(waves, 2) + 1) * 127.5).astype(np.uint8))


def _weights(state: Any) -> str:
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(str((value.dtype, tuple(value.shape))).encode() + value.contiguous().numpy().tobytes())
        elif isinstance(value, dict):
            for inner in value.values():
                add(inner)
        elif isinstance(value, (list, tuple)):
            for inner in value:
                add(inner)
        else:
            digest.update(repr(value).encode())

    add(state)
    return digest.hexdigest()[:16]


def _picture(path: Path) -> str:
    digest = hashlib.sha256()
    with Image.open(path) as picture:
        for frame in ImageSequence.Iterator(picture):
            digest.update(np.asarray(frame.convert("RGBA")).tobytes())
    return digest.hexdigest()[:16]


def _log(path: Path) -> str:
    timed = ("seconds", "images_per_second")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return _numbers([[v for k, v in line.items() if k not in timed] for line in lines])


def _doctor(told: dict[str, Any]) -> str:
    """What was found and by which figures; neither in which words nor under which names they are logged."""
    names = ("name", "severity", "first", "last", "holds")
    findings = [[*(f[name] for name in names), *f["evidence"].values()] for f in told["findings"]]
    signals = [v for k, v in told["signals"].items() if k not in ("seconds", "images_per_second")]
    return _numbers([findings, signals, told["healthy"], told["judged"]])


def _numbers(value: Any) -> str:
    def short(value: Any) -> Any:
        if isinstance(value, float):
            return f"{value:.{DRAWN}g}"
        if isinstance(value, dict):
            return {name: short(inner) for name, inner in value.items()}
        return [short(inner) for inner in value] if isinstance(value, (list, tuple)) else value

    return hashlib.sha256(json.dumps(short(value), sort_keys=True).encode()).hexdigest()[:16]


if __name__ == "__main__":
    main()
