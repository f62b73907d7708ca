"""The real command in a real process, and small real pictures to give it."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

HASAMA = [sys.executable, "-m", "hasama"]

# A game that is over in seconds: 12x12 pictures would do, but dcgan wants multiples of 8.
TINY = ["--size", "16", "--width", "4", "--latent-size", "8", "--batch", "16", "--precision", "fp32"]


# Processes of their own, forked from one that has already read what is not ours: torch alone takes seconds to load,
# and the suite runs the command more than a hundred times.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        *("torch", "torch._dynamo", "torch._meta_registrations", "torch.fx.experimental.symbolic_shapes"),
        *("safetensors.torch", "jaxtyping", "matplotlib.figure", "PIL.Image", "cyclopts", "rich.progress"),
    ]
)
SECONDS = 120


def hasama(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    if "OMP_NUM_THREADS" in environment:  # torch has read it when it was loaded
        words, variables = [*HASAMA, *map(str, arguments)], os.environ | environment
        return subprocess.run(words, capture_output=True, text=True, env=variables, timeout=SECONDS, check=False)
    return forked(_main, *arguments, **environment)


def forked(main: Callable[[], None], *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a function that reads `sys.argv` to its end, in a process of its own."""
    words = list(map(str, arguments))
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder) / name for name in ("stdout", "stderr")]
        process = SERVER.Process(target=_child, args=(main, words, dict(os.environ | environment), Path.cwd(), said))
        process.start()
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(words, SECONDS)
        return subprocess.CompletedProcess(words, process.exitcode, *(file.read_text() for file in said))


def _child(
    main: Callable[[], None], words: list[str], variables: dict[str, str], cwd: Path, said: list[Path]
) -> None:
    """As if it had been started by its name, with these words and variables."""
    for number, file in enumerate(said, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    sys.argv = ["hasama", *words]
    main()


def _main() -> None:
    from hasama.cli.app import main

    main()


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
