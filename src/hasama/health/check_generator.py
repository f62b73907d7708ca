"""Checks of what the generator makes: dead starts, mode collapse, copies."""

import math
from dataclasses import replace

import numpy as np

from hasama.health.check_data import all_alike, one_colour
from hasama.health.findings import RECENT, Finding, History
from hasama.health.remedies import against_collapse, against_few_colours, against_standstill, few_pictures

# --- the generator's pictures ---------------------------------------------------------------------


PATIENCE = 5  # looks at the health in which a generator need not have learnt anything yet
ENOUGH = PATIENCE + RECENT
EARLY = 600  # steps in which healthy generators, too, make nearly the same picture for every latent
MOVED = 0.05
POOR, FALLEN = 0.3, 0.5
VISIBLE = 0.5  # of the reals' contrast; pictures with less are alike because hardly anything is in them yet
REPEATED, STUCK = 0.15, 0.95


def too_soon(history: History) -> bool:
    """Whether there are too few looks at the health to find more than a dead start, or no variety to compare with."""
    return min(len(history.at_look(name)) for name in ("diversity", "distance", "covered")) < ENOUGH


def in_time(history: History, finding: Finding) -> Finding:
    """The same finding; in the first steps, when it may go away by itself, only as a warning."""
    if history.steps >= EARLY:
        return finding
    hint = f"It is early (step {history.steps}): healthy trainings may look so, too, in their first {EARLY} steps."
    return replace(finding, severity="warning", explanation=f"{finding.explanation} {hint}")


def dead_start(history: History) -> Finding | None:
    """The fakes have not changed since the beginning."""
    values = [history.at_look(name) for name in ("contrast", "diversity", "distance")]
    spans = [_span(one) for one in values if len(one)]
    if len(history.looks) < PATIENCE or len(spans) < len(values) or max(spans) > MOVED:
        return None
    return history.finding("dead-start", "serious", 0, {"change": max(spans)}, against_standstill(history.recipe))


def _span(values: np.ndarray) -> float:
    """The largest value minus the smallest, as a share of the largest."""
    return float(np.ptp(values) / max(np.abs(values).max(), 1e-9)) if len(values) else 0.0


def mode_collapse(history: History) -> Finding | None:
    """The fakes are nearly all alike, and do not become more various."""
    values = history.at_look("diversity")
    if too_soon(history) or (dead_start(history) and _last(history, "contrast") < VISIBLE):
        return None
    before = values[-ENOUGH:-PATIENCE].mean()
    now, best = values[-RECENT:].max(), min(1.0, values.max())  # more than the reals have is noise, not variety
    stuck = now < POOR and now < 1.15 * before
    fallen = best > 2 * POOR and now < FALLEN * best
    if not (stuck or fallen):
        return None
    since = history.since("diversity", lambda value: value < max(POOR, FALLEN * best))
    evidence = {"diversity": now, "best": best, "repeats": _last(history, "repeats")}
    finding = history.finding("mode-collapse", "serious", since, evidence, against_collapse(history.recipe))
    return in_time(history, finding)


def partial_collapse(history: History) -> Finding | None:
    """Many fakes are nearly the same picture."""
    repeats, values = history.at_look("repeats", RECENT), history.at_look("diversity")
    if too_soon(history) or len(repeats) < RECENT or mode_collapse(history) or dead_start(history):
        return None
    covered = history.at_look("covered", RECENT).max()
    before = history.at_look("repeats", 2 * RECENT)[:RECENT].mean()
    if repeats.min() < REPEATED or repeats.mean() < STUCK * before:
        return None
    since = history.since("repeats", lambda value: value >= REPEATED)
    evidence = {"repeats": repeats.min(), "diversity": values[-1], "covered": covered}
    finding = history.finding("partial-collapse", "warning", since, evidence, against_collapse(history.recipe))
    return in_time(history, finding)


FEW_COLOURS, HALF = 0.6, 0.5


def few_colours(history: History) -> Finding | None:
    """In the second half of a run the fakes have fewer colours than the reals: before that many healthy ones do."""
    values = history.at_look("colours", RECENT)
    if len(values) < RECENT or history.seen < HALF * history.recipe.images or values.max() >= FEW_COLOURS:
        return None
    if too_soon(history) or mode_collapse(history) or dead_start(history) or all_alike(history):
        return None
    since = history.since("colours", lambda value: value < FEW_COLOURS)
    remedies = against_few_colours(history.recipe)
    return history.finding("few-colours", "warning", since, {"colours": values.max()}, remedies)


NEAR = 0.5


def memorisation(history: History) -> Finding | None:
    """The fakes are copies of pictures that were trained on."""
    near = history.at_look("nearest", RECENT)
    if len(near) < RECENT or near.max() >= NEAR or all_alike(history) or one_colour(history):
        return None
    since = history.since("nearest", lambda value: value < NEAR)
    return history.finding("memorisation", "warning", since, {"nearest": near.max()}, few_pictures(history.recipe))


def _last(history: History, name: str) -> float:
    values = history.at_look(name)
    return float(values[-1]) if len(values) else math.nan
