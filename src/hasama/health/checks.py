"""Is this training healthy, and if not, what is to be done? Pure checks over what a run has logged.

A check is a function of a `History` that gives a `Finding` or None. It knows nothing of files and of networks: so it
can be tested on logs in which the truth is known, and run again over a log that somebody sent by mail. The thresholds
stand beside the checks (`check_data`, `check_generator`, `check_balance`); they were set on induced failures and on
healthy trainings (benchmarks/doctor.py).
"""

from collections.abc import Callable
from typing import Any

from hasama.health.check_balance import discriminator_wins, generator_wins, oscillation, overfitting, plateau
from hasama.health.check_data import all_alike, divergence, not_finite, one_colour, too_few
from hasama.health.check_generator import dead_start, few_colours, memorisation, mode_collapse, partial_collapse
from hasama.health.findings import Finding, History
from hasama.recipe import Recipe


def examine(log: list[dict[str, Any]], recipe: Recipe, images: dict[str, Any] | None = None) -> list[Finding]:
    """All findings at the end of a log, the most serious first.

    Args:
        log: `Run.log()`, or its beginning, to find what could be found at that time.
        recipe: `Run.recipe()`.
        images: `Run.images()`.
    """
    history = History(log, recipe, images)
    found = [finding for check in CHECKS if (finding := check(history)) is not None]
    return sorted(found, key=lambda finding: ("serious", "warning", "note").index(finding.severity))


CHECKS: tuple[Callable[[History], Finding | None], ...] = (
    not_finite, divergence, too_few, all_alike, one_colour, dead_start, mode_collapse, partial_collapse,
    few_colours, discriminator_wins, generator_wins, memorisation, overfitting, oscillation, plateau,
)  # fmt: skip
