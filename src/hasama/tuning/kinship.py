"""Which of the bases is of pictures like these: a run that begins there need not begin at nothing."""

from typing import NamedTuple

from hasama.errors import HasamaError
from hasama.generators.choosing import Look, load_look, look_of
from hasama.perception.extractors import Extractor
from hasama.pictures.dataset import Pictures
from hasama.pictures.decoding import CHANNELS
from hasama.presets import RATES, gentle_rates
from hasama.recipe import Recipe
from hasama.runs import bases
from hasama.runs.folder import Run
from hasama.runs.transfer import SHAPES, as_wide, check_init_from
from hasama.tuning.suggest import Reason, Suggestion, with_stage

AKIN = 0.1
"""At most so far apart. Classes of the same collection were 0.04 to 0.05 apart, portraits and emoji 0.20, emoji and
wallpapers 0.15, portraits and digits 0.54."""
ALIKE = 0.02
"""Bases that differ by less are of the same pictures; then the one of larger pictures is nearer to a large game."""


class Kin(NamedTuple):
    """The base whose pictures are the most similar, and how far apart they are, from 0 on."""

    name: str
    apart: float


def apart(one: Look, other: Look) -> float:
    """The squared distance of the means, in units of both spreads together (a Fisher ratio): 0 is the same look."""
    return float((one.mean - other.mean).square().sum() / (one.spread + other.spread).clamp(min=1e-12))


def nearest_base(pictures: Pictures, recipe: Recipe, extractor: Extractor) -> Kin | None:
    """The most similar base with which this recipe can begin, if one is similar enough.

    Its generator may be wider than the recipe's: see `hasama.runs.transfer.as_wide`.
    """
    looks = {name: look for name in bases.base_names() if (look := load_look(bases.BASES / name))}
    looks = {name: look for name, look in looks.items() if _fits(name, recipe, pictures)}
    if not looks:
        return None
    own = look_of(pictures, extractor)
    distances = {name: apart(own, look) for name, look in looks.items()}
    farthest = min(AKIN, min(distances.values()) + ALIKE)
    akin = [Kin(*pair) for pair in distances.items() if pair[1] <= farthest]
    return max(akin, key=lambda kin: (Run(bases.BASES / kin.name).recipe().game_resolution, -kin.apart), default=None)


def with_base(suggestion: Suggestion, pictures: Pictures, extractor: Extractor) -> Suggestion:
    """The suggestion that begins with a base, if there is one of similar pictures."""
    kin = nearest_base(pictures, suggestion.recipe, extractor)
    if kin is None:
        return suggestion
    why = (
        f"your pictures look like those of this base (apart by {kin.apart:.2g}; 0: the same), which it knows already."
    )
    recipe = as_wide(suggestion.recipe.but(init_from=kin.name, **gentle_rates(suggestion.recipe)))
    reasons = [*suggestion.reasons, Reason(f"init-from {kin.name}", why)]
    if recipe.generator_width != suggestion.recipe.generator_width:
        reasons.append(Reason(f"generator-width {recipe.generator_width}", "as wide as that of the base."))
    return suggestion._replace(recipe=recipe, reasons=reasons)


def begun_anew(halved: Suggestion, plain: Recipe, pictures: Pictures, extractor: Extractor) -> Suggestion:
    """What was made smaller, with a base that fits that size, or else from nothing.

    Args:
        halved: perhaps with a base that is too large for it.
        plain: what would be trained from nothing, at the former size.
        pictures: what it is for.
        extractor: as for `nearest_base`.
    """
    if not halved.recipe.init_from:
        return halved
    without = {name: getattr(plain, name) for name in ("init_from", "generator_width", *RATES)}
    bare = halved._replace(recipe=halved.recipe.but(**without))
    return with_stage(with_base(bare, pictures, extractor), pictures.report)


def _fits(name: str, recipe: Recipe, pictures: Pictures) -> bool:
    """Whether a run of this recipe takes over all that matters."""
    run = Run(bases.BASES / name)
    own, base = run.recipe(), run.images()
    try:
        check_init_from(recipe.but(init_from=name))
    except HasamaError:
        return False
    same = all(getattr(own, field) == getattr(recipe, field) for field in ("architecture", "width", *SHAPES))
    return same and base["channels"] == CHANNELS.get(recipe.colour, pictures.report.channels)
