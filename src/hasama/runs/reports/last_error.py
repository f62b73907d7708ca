"""What broke off a command or a training, kept on this machine for `hasama report`.

A run keeps its own in `error.json`; what is nobody's fault but Hasama's is kept beside the cache. Neither is sent
anywhere.
"""

import json
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import Any

from hasama.errors import HasamaError, TakenOverError
from hasama.files import replacing
from hasama.pictures.sources.download import cache_folder
from hasama.version import __version__

INSTALLED = ("site-packages", "dist-packages")
MOST_FRAMES = 20
LONGEST_MESSAGE = 2000
"""Characters of a message that are kept: tensors can be printed at any length."""


def crash_file() -> Path:
    """Where the last error is kept that no command expected."""
    return cache_folder() / "last-crash.json"


def error_file(folder: Path) -> Path:
    """Where a run keeps the error that broke off its last session."""
    return folder / "error.json"


@contextmanager
def recorded(folder: Path) -> Iterator[None]:
    """A session of the run in this folder: an error that breaks it off is kept there; one before it is forgotten."""
    error_file(folder).unlink(missing_ok=True)
    try:
        yield
    except Exception as error:
        somebody_elses = isinstance(error, TakenOverError) or not (folder / "recipe.json").is_file()
        if not somebody_elses:
            save_error(error_file(folder), error)
        raise


def save_error(file: Path, error: Exception, words: Sequence[str] = ()) -> None:
    """Keep an error, and the words of the command that it broke off. A full disk is no second error.

    Args:
        file: where.
        error: what broke it off.
        words: after `hasama`, as they were typed.
    """
    kept = {
        "version": __version__,
        "when": time.strftime("%Y-%m-%d %H:%M:%S"),
        "kind": type(error).__name__,
        "message": str(error)[:LONGEST_MESSAGE],
        "frames": list(_frames(error)),
        "words": list(words),
    }
    with suppress(OSError, HasamaError), replacing(file) as temporary:
        temporary.write_text(json.dumps(kept, indent=2), encoding="utf-8")


def read_error(file: Path) -> dict[str, Any] | None:
    """What `save_error` kept: version, when, kind, message, frames and words; None without one that can be read."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    kinds = {"version": str, "when": str, "kind": str, "message": str, "frames": list, "words": list}
    sound = isinstance(kept, dict) and all(isinstance(kept.get(name), kind) for name, kind in kinds.items())
    return kept if sound else None


def _frames(error: Exception) -> Iterator[str]:
    """'hasama/runs/session.py:120 session', the innermost last, without a word of where that lies on this machine."""
    for frame in traceback.extract_tb(error.__traceback__)[-MOST_FRAMES:]:
        yield f"{_public(frame.filename)}:{frame.lineno} {frame.name}"


def _public(file: str) -> str:
    """The part of a module's path that is the same on every machine; of a file of the user's own nothing."""
    parts = PurePath(file).parts
    for place in INSTALLED:
        if place in parts:
            return "/".join(parts[parts.index(place) + 1 :])
    ours, standard = Path(__file__).parents[2], Path(json.__file__).parents[1]
    for root, name in ((ours, "hasama"), (standard, "python")):
        if PurePath(file).is_relative_to(root):
            return "/".join([name, *PurePath(file).relative_to(root).parts])
    return file if file.startswith("<") else "(a file of yours)"
