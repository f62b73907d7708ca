"""Checks of the balance between the two networks, and of progress."""

import math

import numpy as np

from hasama.health.check_generator import dead_start, in_time, too_soon
from hasama.health.findings import RECENT, Finding, History
from hasama.health.remedies import against_discriminator, against_generator, against_swings, few_pictures, finer

NARROW = 0.55


# --- the balance between generator and discriminator ----------------------------------------------


SURE, NO_LOSS = 0.97, 0.005  # share of right answers; a discriminator's loss too small to learn from
FOOLED, CHANCE = 0.2, 0.6
BAD, FAR, BETTER = 0.3, 0.5, 0.9
WINNING_LOOKS, LOST = 6, 0.01


def discriminator_wins(history: History) -> Finding | None:
    """The discriminator is right about everything, and the generator learns nothing from it."""
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
    if (
        history.at_look("covered", WINNING_LOOKS).max(initial=0) < LOST
    ):  # ruined: its distance swings, and falls by chance
        improves = distance[-RECENT:].max() < distance[:-RECENT].min()
    if sure < SURE or now < (BAD if loss < NO_LOSS else FAR) or (improves and not 0 <= loss < NO_LOSS):
        return None
    since = history.looks[-WINNING_LOOKS]["images_seen"]
    evidence = {"accuracy": sure, "loss": loss, "distance": now}
    finding = history.finding("discriminator-wins", "serious", since, evidence, against_discriminator(history.recipe))
    return in_time(history, finding)


def generator_wins(history: History) -> Finding | None:
    """The discriminator takes bad fakes for real, or is no better than chance."""
    real, fake = (history.recent(name, WINNING_LOOKS) for name in ("accuracy_real", "accuracy_fake"))
    distance = history.at_look("distance", RECENT)
    if (
        too_soon(history)
        or min(len(real), len(fake)) < 5
        or distance.min(initial=np.inf) < FAR
        or dead_start(history)
    ):
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
    """The discriminator gives held-out reals lower logits than the reals that it was trained on."""
    overfit = history.at_look("overfit", 2 * RECENT)
    if len(overfit) < 2 * RECENT or float(np.median(overfit)) < OVERFIT:
        return None
    since = history.since("overfit", lambda value: value >= OVERFIT)
    return history.finding(
        "overfitting", "warning", since, {"overfit": float(np.median(overfit))}, few_pictures(history.recipe)
    )


SWINGS_LOOKS = 12
RELAPSE, AT_MOST = 1.5, 4.0  # the least factor of a relapse, and the most that counts: one look may be far off
SWINGING = 4.5  # all relapses together
CLOSE = 0.4  # distances below it come and go in healthy trainings, too


def oscillation(history: History) -> Finding | None:
    """Generator and discriminator chase each other: the pictures become better and worse in turn."""
    distances = np.maximum(history.at_look("distance")[RECENT:][-SWINGS_LOOKS:], CLOSE)
    rises = np.minimum(relapses(distances, RELAPSE), AT_MOST)
    swing = float(np.prod(rises))
    if too_soon(history) or swing < SWINGING:
        return None
    since = history.looks[-len(distances)]["images_seen"]
    evidence = {"relapses": len(rises), "swing": swing}
    return history.finding("oscillation", "warning", since, evidence, against_swings(history.recipe))


def relapses(values: np.ndarray, factor: float) -> list[float]:
    """By what factor a figure [k] grew, each time that it grew by `factor` or more after having fallen as much."""
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
    """For a third of the run the distance to the reals has not become smaller."""
    distance, diversity = history.at_look("distance"), history.at_look("diversity")
    if len(distance) < PLATEAU_LOOKS or len(diversity) < RECENT or diversity[-RECENT:].min() < NARROW:
        return None
    third = len(distance) // 3
    now, before = np.median(distance[-third:]), np.median(distance[-2 * third : -third])
    best_before, best_now = distance[:-third].min(), distance[-third:].min()
    if now < (1 - GAINED) * before or best_now < (1 - GAINED) * best_before:
        return None
    since = history.looks[-third]["images_seen"]
    return history.finding("plateau", "note", since, {"distance": now, "before": before}, finer(history.recipe))
