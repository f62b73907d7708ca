"""Which generator of a run is taken: the last, or the best one where that is clearly better."""

from pathlib import Path

from hasama.health.quality import clearly_better
from hasama.runs.folder import Run


def best_is_better(run: Run) -> str | None:
    """How much better a run's best generator is than its last; None if it is not clearly better, or not there."""
    return clearly_better(run.best, run.log()) if run.best.exists() else None


def chosen_generator(run: Run) -> tuple[Path, str | None]:
    """The file of the best generator, and how much better it is; or, unless that is clear, of the last, and None.

    Raises:
        HasamaError: there is no run here, it is damaged, or it has saved no generator yet.
    """
    last, told = run.saved_generator(), best_is_better(run)
    return (run.best if told else last), told
