"""Is this training healthy, and if not, what is to be done? Pure checks over what a run has logged.

A check is a function of a `History` that gives a `Finding` or None. It knows nothing of files and of networks: so it
can be tested on histories in which the truth is known, and run again over a log that somebody sent by mail. All
thresholds stand here; they were set on induced failures and healthy trainings (benchmarks/doctor.py).
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from hasama.doctor.findings import RECENT, Finding, History
from hasama.doctor.remedies import (
    against_collapse,
    against_discriminator,
    against_generator,
    against_standstill,
    against_swings,
    few_pictures,
    finer,
    slower,
    steady,
)
from hasama.recipe import Recipe


def examine(log: list[dict[str, Any]], recipe: Recipe, images: dict[str, Any] | None = None) -> list[Finding]:
    """All findings at the end of a log, the most serious first.

    Args:
        log: `Run.log()`, or its beginning, to see what was to be seen then.
        recipe: `Run.recipe()`.
        images: `Run.images()`.
    """
    history = History(log, recipe, images)
    found = [finding for check in CHECKS if (finding := check(history)) is not None]
    return sorted(found, key=lambda finding: ("serious", "warning", "note").index(finding.severity))


# --- the pictures themselves ----------------------------------------------------------------------

FEW, VERY_FEW = 200, 16
ALIKE, FLAT = 0.06, 0.04  # of the range -1 to 1


def too_few(history: History) -> Finding | None:
    """So few pictures that a GAN can only learn them by heart."""
    used = history.images.get("used")
    if not isinstance(used, int) or history.images.get("crops"):
        return None
    different = used - sum(len(group) - 1 for group in history.images.get("duplicates", []))
    augments = history.recipe.augment != "none" or history.recipe.like
    if different >= FEW or (augments and different >= VERY_FEW):
        return None
    severity = "serious" if different < VERY_FEW else "warning"
    return history.finding("too-few", severity, 0, {"pictures": different}, few_pictures(history.recipe))


def all_alike(history: History) -> Finding | None:
    """The reals hardly differ from each other."""
    spread = history.at_look("spread_real")
    if not len(spread) or spread[-1] >= ALIKE or (history.at_look("contrast_real")[-1:] < FLAT).any():
        return None
    return history.finding("all-alike", "serious", 0, {"spread": spread[-1]})


def one_colour(history: History) -> Finding | None:
    """Each of the reals is a plain surface."""
    contrast = history.at_look("contrast_real")
    if not len(contrast) or contrast[-1] >= FLAT:
        return None
    return history.finding("one-colour", "serious", 0, {"contrast": contrast[-1]})


# --- numbers that break down ----------------------------------------------------------------------

ENORMOUS_LOSS, ENORMOUS_LOGIT = 100.0, 300.0
BEYOND_WHITE = 1.5  # of pictures between -1 and 1 the standard deviation is 1 at most
LOGITS = ("logit_real", "logit_fake")


def not_finite(history: History) -> Finding | None:
    """A loss is NaN or infinite."""
    if not history.log or "not_finite" not in history.log[-1]:
        return None
    since = history.looks[-1]["images_seen"] if history.looks else 0
    return history.finding("not-finite", "serious", since, {}, [slower(history.recipe, 4), steady(history.recipe)])


def divergence(history: History) -> Finding | None:
    """Losses or opinions grow without bound."""
    losses = np.abs(np.concatenate([history.recent("loss_discriminator"), history.recent("loss_generator")]))
    logits = np.abs(np.concatenate([history.at_look(name, RECENT) for name in LOGITS]))
    if len(logits) < 4:
        return None
    loss, logit = float(np.median(losses)) if len(losses) else 0.0, float(np.median(logits))
    painted = history.at_look("contrast", RECENT) * history.at_look("contrast_real", RECENT)
    contrast = float(np.median(painted))
    if loss < ENORMOUS_LOSS and logit < ENORMOUS_LOGIT and contrast < BEYOND_WHITE:
        return None
    since = min(history.since(name, lambda value: abs(value) > ENORMOUS_LOGIT / 10) for name in LOGITS)
    evidence = {"loss": loss, "logit": logit, "contrast": contrast}
    return history.finding(
        "divergence", "serious", since, evidence, [steady(history.recipe), slower(history.recipe, 4)]
    )


# --- the generator's pictures ---------------------------------------------------------------------

PATIENCE = 5  # looks that any generator is given to begin to paint
ENOUGH = PATIENCE + RECENT
EARLY = 600  # steps in which healthy generators, too, paint much the same for every latent
MOVED = 0.05
POOR, FALLEN = 0.3, 0.5
PAINTS = 0.5  # of the reals' contrast; what has less was never painted, and is alike for that
REPEATED, STUCK = 0.15, 0.95
NARROW = 0.55


def too_soon(history: History) -> bool:
    """Whether there are too few looks to tell anything but a dead start."""
    return len(history.looks) < ENOUGH


def in_time(history: History, finding: Finding) -> Finding:
    """The same finding; in the first steps, when it may pass by itself, only as a warning."""
    if history.steps >= EARLY:
        return finding
    hint = f"It is early (step {history.steps}): healthy trainings may look so, too, in their first {EARLY} steps."
    return replace(finding, severity="warning", explanation=f"{finding.explanation} {hint}")


def dead_start(history: History) -> Finding | None:
    """From the beginning on the pictures have not changed."""
    spans = [_span(history.at_look(name)) for name in ("contrast", "diversity", "distance")]
    if len(history.looks) < PATIENCE or max(spans) > MOVED:
        return None
    return history.finding("dead-start", "serious", 0, {"change": max(spans)}, against_standstill(history.recipe))


def _span(values: np.ndarray) -> float:
    """From the smallest to the largest, as a share of the largest."""
    return float(np.ptp(values) / max(np.abs(values).max(), 1e-9)) if len(values) else 0.0


def mode_collapse(history: History) -> Finding | None:
    """The fakes are nearly all alike, and do not become more various."""
    values = history.at_look("diversity")
    if too_soon(history) or (dead_start(history) and _last(history, "contrast") < PAINTS):
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
    """Some pictures are painted again and again."""
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


NEAR = 0.5


def memorisation(history: History) -> Finding | None:
    """The fakes are copies of pictures that were trained on."""
    near = history.at_look("nearest", RECENT)
    if len(near) < RECENT or near.max() >= NEAR or all_alike(history) or one_colour(history):
        return None
    since = history.since("nearest", lambda value: value < NEAR)
    return history.finding("memorisation", "warning", since, {"nearest": near.max()}, few_pictures(history.recipe))


# --- the balance between the players --------------------------------------------------------------

SURE, NO_LOSS = 0.97, 0.005  # right answers; a loss of the discriminator from which nothing can be learnt
FOOLED, CHANCE = 0.2, 0.6
BAD, FAR, BETTER = 0.3, 0.5, 0.9
WINNING_LOOKS, LOST = 6, 0.01


def discriminator_wins(history: History) -> Finding | None:
    """It is right about everything, and the generator learns nothing from it."""
    right = [history.recent(name, WINNING_LOOKS) for name in ("accuracy_real", "accuracy_fake")]
    distance = history.at_look("distance")
    if too_soon(history) or min(len(one) for one in right) < 5:
        return None
    now, before = np.median(distance[-RECENT:]), np.median(distance[-WINNING_LOOKS - 1 : -RECENT])
    sure, loss = (
        min(one.mean() for one in right),
        float(np.median(history.recent("loss_discriminator", WINNING_LOOKS))),
    )
    variety = history.at_look("diversity", WINNING_LOOKS)
    improves = now < BETTER * before or variety[-RECENT:].mean() > variety[:RECENT].mean() / BETTER
    if history.at_look("covered", WINNING_LOOKS).max(initial=0) < LOST:  # ruined: it swings, and is nearer by chance
        improves = distance[-RECENT:].max() < distance[:-RECENT].min()
    if sure < SURE or now < (BAD if loss < NO_LOSS else FAR) or (improves and not 0 <= loss < NO_LOSS):
        return None
    since = history.looks[-WINNING_LOOKS]["images_seen"]
    evidence = {"accuracy": sure, "loss": loss, "distance": now}
    finding = history.finding("discriminator-wins", "serious", since, evidence, against_discriminator(history.recipe))
    return in_time(history, finding)


def generator_wins(history: History) -> Finding | None:
    """The discriminator is fooled by pictures that are nothing like the reals, or no better than a coin."""
    real, fake = (history.recent(name, WINNING_LOOKS) for name in ("accuracy_real", "accuracy_fake"))
    distance = history.at_look("distance", RECENT)
    if too_soon(history) or min(len(real), len(fake)) < 5 or distance.min() < FAR or dead_start(history):
        return None
    right = (real.mean() + fake.mean()) / 2
    if fake.mean() > FOOLED and right > CHANCE:
        return None
    since = history.looks[-WINNING_LOOKS]["images_seen"]
    evidence = {"accuracy": fake.mean(), "right": right, "distance": distance.min()}
    finding = history.finding("generator-wins", "serious", since, evidence, against_generator(history.recipe))
    return in_time(history, finding)


OVERFIT = 0.35


def overfitting(history: History) -> Finding | None:
    """The discriminator tells reals that it was trained on from reals that it was not."""
    overfit = history.at_look("overfit", 2 * RECENT)
    if len(overfit) < 2 * RECENT or float(np.median(overfit)) < OVERFIT:
        return None
    since = history.since("overfit", lambda value: value >= OVERFIT)
    return history.finding(
        "overfitting", "warning", since, {"overfit": float(np.median(overfit))}, few_pictures(history.recipe)
    )


SWINGS_LOOKS = 12
RELAPSE, AT_MOST = 1.5, 4.0  # the least factor of a relapse, and the most that counts: it may be one bad look
SWINGING = 4.5  # all relapses together
CLOSE = 0.4  # distances below it come and go in healthy trainings, too


def oscillation(history: History) -> Finding | None:
    """The players chase each other: the pictures become better and worse in turn."""
    distances = np.maximum(history.at_look("distance")[RECENT:][-SWINGS_LOOKS:], CLOSE)
    rises = np.minimum(relapses(distances, RELAPSE), AT_MOST)
    swing = float(np.prod(rises))
    if too_soon(history) or swing < SWINGING:
        return None
    since = history.looks[-len(distances)]["images_seen"]
    evidence = {"relapses": len(rises), "swing": swing}
    return history.finding("oscillation", "warning", since, evidence, against_swings(history.recipe))


def relapses(values: np.ndarray, factor: float) -> list[float]:
    """By how much a figure [k] grew each time that it grew, and between them fell, at least by a factor."""
    rises: list[float] = []
    low, high = math.inf, None
    for value in values:
        if high is None:
            low = min(low, value)
            high = value if value >= factor * low else None
        elif value <= high / factor:
            rises.append(high / low)
            low, high = value, None
        else:
            high = max(high, value)
    return rises if high is None else [*rises, high / low]


PLATEAU_LOOKS, GAINED = 24, 0.05


def plateau(history: History) -> Finding | None:
    """The pictures have not become nearer to the reals for a third of the run."""
    distance, diversity = history.at_look("distance"), history.at_look("diversity")
    if len(distance) < PLATEAU_LOOKS or diversity[-RECENT:].min() < NARROW:
        return None
    third = len(distance) // 3
    now, before = np.median(distance[-third:]), np.median(distance[-2 * third : -third])
    best_before, best_now = distance[:-third].min(), distance[-third:].min()
    if now < (1 - GAINED) * before or best_now < (1 - GAINED) * best_before:
        return None
    since = history.looks[-third]["images_seen"]
    return history.finding("plateau", "note", since, {"distance": now, "before": before}, finer(history.recipe))


def _last(history: History, name: str) -> float:
    values = history.at_look(name)
    return float(values[-1]) if len(values) else math.nan


CHECKS: tuple[Callable[[History], Finding | None], ...] = (
    not_finite, divergence, too_few, all_alike, one_colour, dead_start, mode_collapse, partial_collapse,
    discriminator_wins, generator_wins, memorisation, overfitting, oscillation, plateau,
)  # fmt: skip
