"""What a sweep varies: for each sensitive parameter the values that make sense for a given recipe.

A parameter is a field of the recipe, or `beta1`, the first beta of both networks' Adam: without momentum or with it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import NamedTuple

from hasama.errors import HasamaError
from hasama.fields import counts
from hasama.options import unknown_name
from hasama.presets import can_be, varied
from hasama.recipe import Recipe

Value = float | int | str


class Span(NamedTuple):
    """Numbers from `low` to `high`, drawn by their logarithm: twice as much is as far as half as much."""

    low: float
    high: float


class Choice(NamedTuple):
    """A few values."""

    values: tuple[Value, ...]


Space = Span | Choice

LEAST_BATCH = 4


def around(value: float, factor: float, most: float = 1e9) -> Span | None:
    """From a `factor`-th of a value to `factor` times it; None for 0, which means that the cost is switched off."""
    return Span(value / factor, min(most, value * factor)) if value else None


def choose(*values: Value) -> Choice | None:
    """Those of the values that differ; None for a single one."""
    kept = tuple(dict.fromkeys(values))
    return Choice(kept) if len(kept) > 1 else None


def _ema(recipe: Recipe) -> Span | None:
    """Only if a trial is long enough to reach the preset's half-life; in shorter ones all values do the same."""
    return around(recipe.ema_kimg, 3) if recipe.ema_rampup * recipe.kimg > recipe.ema_kimg else None


def _augment(recipe: Recipe) -> Choice | None:
    return None if recipe.architecture == "vae" else choose(recipe.augment, "none", "diffaugment", "ada")


def _batch(recipe: Recipe) -> Choice | None:
    most = next(field.metadata["most"] for field in fields(Recipe) if field.name == "batch")
    sizes = recipe.batch, max(LEAST_BATCH, recipe.batch // 2), min(int(most), 2 * recipe.batch)
    return choose(*(size for size in sizes if can_be(recipe, batch=size)))


def _beta1(recipe: Recipe) -> Choice | None:
    """One beta for both networks; if the recipe has two different ones, they stay."""
    own = recipe.generator_betas[0]
    return choose(own, 0.0, 0.5) if own == recipe.discriminator_betas[0] else None


SENSITIVE: dict[str, Callable[[Recipe], Space | None]] = {
    "generator_lr": lambda r: around(r.generator_lr, 5, 1),
    "discriminator_lr": lambda r: around(r.discriminator_lr, 5, 1),
    "gamma": lambda r: around(r.penalty_weight, 8),
    "beta1": _beta1,
    "augment": _augment,
    "batch": _batch,
    "ema_kimg": _ema,
    "critic_steps": lambda r: choose(r.critic_steps, 1, 2, 5),
    "skip_above": lambda r: choose(r.skip_above, 0.75, 0.85, 0.95),
    "path_length": lambda r: around(r.path_length, 4),
    "reconstruction": lambda r: around(r.reconstruction, 4),
}
"""The parameters that matter most. For a recipe: the values, or None if the parameter has no effect."""

MORE: dict[str, Callable[[Recipe], Space | None]] = {
    "width": lambda r: choose(r.width, max(1, r.width // 2), 2 * r.width),
    "latent_size": lambda r: choose(r.latent_size, max(1, r.latent_size // 2), 2 * r.latent_size),
    "instance_noise": lambda r: choose(r.instance_noise, 0.0, 0.05, 0.1, 0.2),
    "label_smoothing": lambda r: choose(r.label_smoothing, 0.0, 0.1, 0.2),
}
"""Varied on request only: they cost time, or rarely help."""


def search_space(recipe: Recipe, names: Iterable[str] | None = None) -> dict[str, Space]:
    """The parameters to vary and their values.

    Args:
        recipe: of a trial: the middle of the ranges.
        names: only these; None for all of `SENSITIVE` that mean something for the recipe.

    Raises:
        HasamaError: there is no such parameter, or one that was asked for has no effect in this recipe.
    """
    if names is None:
        spaces = {name: SENSITIVE[name](recipe) for name in SENSITIVE if counts(name, recipe)}
        return {name: space for name, space in spaces.items() if space is not None}
    chosen: dict[str, Space] = {}
    for name in names:
        if name not in SENSITIVE | MORE:
            raise HasamaError(unknown_name(name, SENSITIVE | MORE, "parameter to search"))
        space = (SENSITIVE | MORE)[name](recipe) if counts(name, recipe) else None
        if space is None:
            raise HasamaError(f"--search {name}: it has no effect, or not alone, with the rest of this recipe.")
        chosen[name] = _checked(name, space, recipe)
    if not chosen:
        raise HasamaError(f"--search takes some of {', '.join(SENSITIVE | MORE)}, with commas between them.")
    return chosen


def _checked(name: str, space: Space, recipe: Recipe) -> Space:
    """Refuse what some trial could only refuse later, such as label smoothing where the objective has no target."""
    for value in space.values if isinstance(space, Choice) else space:
        vary(recipe, {name: value})
    return space


def vary(recipe: Recipe, parameters: Mapping[str, Value]) -> Recipe:
    """The recipe with these parameters, rounded to three digits, which is all that they are good for.

    Wider networks get smaller learning rates, unless those are parameters, too.

    Raises:
        HasamaError: they contradict the recipe.
    """
    changes: dict[str, object] = {name: rounded(value) for name, value in parameters.items()}
    if "beta1" in changes:
        beta1 = changes.pop("beta1")
        changes |= {name: (beta1, getattr(recipe, name)[1]) for name in ("generator_betas", "discriminator_betas")}
    return varied(recipe, changes)


def rounded(value: Value) -> Value:
    """0.00123456 -> 0.00123; what is not a fraction stays."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def middle(recipe: Recipe, space: Mapping[str, Space]) -> dict[str, Value]:
    """The recipe's own values of the parameters: the first trial, so that the best is no worse than the preset."""
    own: dict[str, Value] = {"beta1": recipe.generator_betas[0], "gamma": recipe.penalty_weight}
    return {name: own[name] if name in own else getattr(recipe, name) for name in space}
