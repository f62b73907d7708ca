"""Small paintings, each over in a quarter of a second, and the command without a process of its own."""

import contextlib
import io
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from hasama.cli.app import main
from hasama.style.jobs.painting_file import Job, StyleSource
from hasama.style.recipe import StyleRecipe
from odd_files import scene

# Three scales (24, 34 and 48 pixels) and ten steps through the network's first three convolutions.
BRIEF = {
    "size": 48,
    "smallest": 24,
    "first_iterations": 4,
    "iterations": 3,
    "style_layers": "relu1_1,relu2_1",
    "content_layers": "relu2_1",
    "precision": "fp32",
}
STEPS = 10
BRIEF_RECIPE = StyleRecipe(**BRIEF, balance=False)  # pyright: ignore[reportArgumentType]


def brief(**changes: object) -> list[str]:
    """The same as flags, with changes."""
    fields = {"threads": 1} | BRIEF | changes
    return [part for name, value in fields.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def style_scene(width: int = 40, height: int = 40, seed: int = 2) -> Image.Image:
    """Stripes in warm colours."""
    y, x = np.mgrid[:height, :width]
    stripe = 0.5 + 0.5 * np.sin(0.9 * x + 0.5 * y)
    noise = np.random.default_rng(seed).normal(0, 12, (height, width, 3))
    pixels = np.stack([180 + 70 * stripe, 60 + 120 * stripe, 30 + 40 * (1 - stripe)], axis=-1) + noise
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def lay_out(folder: Path) -> tuple[Path, Path]:
    """A content of 48x32 pixels and a style in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    scene(48, 32, seed=1).save(folder / "c.png")
    style_scene().save(folder / "s.png")
    return folder / "c.png", folder / "s.png"


def job_in(folder: Path, name: str = "out.png", recipe: StyleRecipe = BRIEF_RECIPE) -> Job:
    """A painting of its own in a folder, its pictures included."""
    content, style = lay_out(folder)
    return Job(content, (StyleSource(style),), folder / name, recipe)


def hasama_here(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command's entry point in this process, which has torch at hand: 0.2 s instead of 2.

    What would be a traceback is raised here.
    """
    out, err, code, before = io.StringIO(), io.StringIO(), None, sys.argv
    command = ["hasama", *map(str, arguments)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Cyclopts notices that this is a test
        sys.argv = command
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code
        finally:
            sys.argv = before
    assert isinstance(code, int), "main() always leaves with a code"
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


def pixels_of(path: Path) -> np.ndarray:
    """The numbers of a picture file, whatever its mode."""
    with Image.open(path) as picture:
        return np.asarray(picture)
