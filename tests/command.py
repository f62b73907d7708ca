"""The real command in a real process, and small real pictures to give it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

HASAMA = [sys.executable, "-m", "hasama"]

# A game that is over in seconds: 12x12 pictures would do, but dcgan wants multiples of 8.
TINY = ["--size", "16", "--width", "4", "--latent-size", "8", "--batch", "16", "--precision", "fp32"]


def hasama(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [*HASAMA, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=120,
        check=False,
    )


def start(*arguments: object, **options) -> subprocess.Popen[str]:
    """Start the command; the caller ends it."""
    return subprocess.Popen(
        [*HASAMA, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 2, one message on standard error that holds these words, and no traceback."""
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr + done.stdout
    said = " ".join(done.stderr.split())
    for word in words:
        assert word in said, (word, said)


def make_pictures(folder: Path, count: int = 40, side: int = 20) -> Path:
    """A folder of coloured squares in two sub-folders."""
    rng = np.random.default_rng(0)
    for index in range(count):
        place = folder / ("dark" if index % 2 else "light")
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.full((side, side, 3), 40 if index % 2 else 200, np.uint8)
        pixels[4:12, 4:12] = rng.integers(0, 255, 3)
        Image.fromarray(pixels).save(place / f"{index:03}.png")
    return folder
