"""How long a user waits: for `hasama --help`, for `import hasama` against `import torch`, for a first picture.

    python benchmarks/startup.py [--rounds 9]

Wanted: `import hasama` (with its largest part, the training loop) under
1.5 times `import torch`, `--help` under 0.5 s, 512 pixels painted by `instant` within 2 s of the command, 1024 within
3 s, on two cores with bf16.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import torch": ["-c", "import torch"],
    "import hasama": ["-c", "import hasama"],
    "import hasama; hasama.train": ["-c", "import hasama; hasama.train"],
    "hasama --help": ["-m", "hasama", "--help"],
    "hasama train --help": ["-m", "hasama", "train", "--help"],
}


def first_pictures(folder: Path) -> dict[str, list[str]]:
    """Samples of a base; `instant` with scikit-learn's two photographs, at two sizes."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    for name, pixels in zip(("photo", "painting"), load_sample_images().images, strict=True):
        Image.fromarray(pixels).resize((1024, 768)).save(folder / f"{name}.png")
    given = ["-m", "hasama", "style", f"{folder}/photo.png", f"{folder}/painting.png", "--recipe", "instant"]
    painted = {
        f"hasama style, instant, {size}": [*given, "--size", str(size), "--out", f"{folder}/made/{size}.png"]
        for size in (512, 1024)
    }
    sampled = ["-m", "hasama", "sample", "portraits", "--count", "16", "--out", f"{folder}/made/faces.png"]
    return painted | {"hasama sample portraits": sampled}


def timed(commands: dict[str, list[str]], rounds: int, made: Path) -> dict[str, list[float]]:
    """Each command's seconds, one after another in each round; what they make is thrown away."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, arguments in commands.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - start)
            shutil.rmtree(made, ignore_errors=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        seconds = timed(COMMANDS | first_pictures(Path(folder)), rounds, Path(folder, "made"))
    torch = statistics.median(seconds["import torch"])
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:30}{median:7.3f} s{median / torch:8.2f} x import torch")


if __name__ == "__main__":
    main()
