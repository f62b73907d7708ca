"""The package as it is published, built of a source tree, and installed away from it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def build(kind: str, root: Path, out: Path) -> Path:
    """A 'wheel' or an 'sdist' of a source tree, by the back end that `pip` and `build` ask, too."""
    words = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(out)]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return made


class Installed:
    """An environment of its own, and commands in it that see nothing of the repository.

    Args:
        folder: for the environment, a home, and a place to work in.
    """

    def __init__(self, folder: Path) -> None:
        self.environment, self.place = folder / "environment", folder / "work"
        self.python = self.environment / "bin/python"
        self.place.mkdir()
        (folder / "home").mkdir()
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HASAMA", "VIRTUAL"))
        }
        self.variables = kept | {
            "HOME": str(folder / "home"),
            "HASAMA_CACHE": str(folder / "cache"),
            "PATH": f"{self.python.parent}:{os.defpath}",
        }

    def run(self, *words: object, seconds: float = 300) -> str:
        """Run a command of the environment to its end; what it printed."""
        first, *rest = map(str, words)
        done = subprocess.run(
            [str(self.python.parent / first), *rest], cwd=self.place, env=self.variables, capture_output=True,
            text=True, timeout=seconds, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout
