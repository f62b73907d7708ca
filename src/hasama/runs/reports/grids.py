"""Which of a run's sample grids there are, and which of them show it as it is."""

from contextlib import suppress
from pathlib import Path

from hasama.runs.folder import Run

DIGITS = 12
"""Of the count of images that a sample grid is called by."""


def grids_of(run: Run, seen: int) -> list[int]:
    """After how many images the sample grids were made, without those of what the autopilot gave up.

    Args:
        run: the run, or its stage of half the size.
        seen: images seen at the last line of its log.
    """
    made: list[int] = []
    with suppress(OSError):
        numbers = sorted(int(file.stem) for file in run.samples.glob("*.png") if counts(file.stem))
        made = [one for one in numbers if run.sample_file(one).exists()]  # as a run names them
    if went_back := mtime_of(run.autopilot_file):  # what was given up is not the newest: others are made
        made = [one for one in made if one <= seen or mtime_of(run.sample_file(one)) > went_back]
    return made


def counts(name: str) -> bool:
    """Whether a sample grid can be called so: after how many images it was made."""
    return name.isascii() and name.isdigit() and len(name) <= DIGITS


def mtime_of(file: Path) -> int:
    """When it was written, in nanoseconds; 0 if it is not there."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
