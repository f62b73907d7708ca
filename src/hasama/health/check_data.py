"""Checks of the pictures themselves, and of numbers that break down."""

import numpy as np

from hasama.health.findings import RECENT, Finding, History
from hasama.health.remedies import few_pictures, slower, steady

# --- the pictures themselves ----------------------------------------------------------------------


FEW, VERY_FEW = 200, 16
ALIKE, FLAT = 0.06, 0.04  # of the range -1 to 1


def too_few(history: History) -> Finding | None:
    """There are so few pictures that a GAN can only learn them by heart."""
    used = history.images.get("used")
    if not isinstance(used, int) or history.images.get("crops"):
        return None
    different = used - sum(len(group) - 1 for group in history.images.get("duplicates", []))
    recipe = history.recipe
    own = recipe.small_kimg and recipe.init_from.endswith("small")  # its own stage of half the size is no base
    augments = recipe.augment != "none" or (recipe.init_from and not own)
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
    """Losses, logits or the contrast of the fakes grow without bound."""
    losses = np.abs(np.concatenate([history.recent("loss_discriminator"), history.recent("loss_generator")]))
    logits = np.abs(np.concatenate([history.at_look(name, RECENT) for name in LOGITS]))
    if len(logits) < 4:
        return None
    loss, logit = float(np.median(losses)) if len(losses) else 0.0, float(np.median(logits))
    share, real = (history.at_look(name, RECENT) for name in ("contrast", "contrast_real"))
    contrast = float(np.median(share * real)) if len(share) == len(real) > 0 else 0.0
    if loss < ENORMOUS_LOSS and logit < ENORMOUS_LOGIT and contrast < BEYOND_WHITE:
        return None
    since = min(history.since(name, lambda value: abs(value) > ENORMOUS_LOGIT / 10) for name in LOGITS)
    evidence = {"loss": loss, "logit": logit, "contrast": contrast}
    return history.finding(
        "divergence", "serious", since, evidence, [steady(history.recipe), slower(history.recipe, 4)]
    )
