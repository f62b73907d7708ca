"""Which of the bases is of pictures like these: a run that begins there need not begin at nothing."""

from typing import NamedTuple

from hasama.errors import HasamaError
from hasama.generators.choosing import Look, load_look, look_of
from hasama.perception.extractors import Extractor
from hasama.pictures.dataset import Pictures
from hasama.recipe import Recipe
from hasama.runs import bases
from hasama.runs.folder import Run
from hasama.runs.transfer import check_init_from

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


def _fits(name: str, recipe: Recipe, pictures: Pictures) -> bool:
    """Whether a run of this recipe takes over all that matters."""
    run = Run(bases.BASES / name)
    own, base = run.recipe(), run.images()
    alike = ("architecture", "width", "latent_size", "group_width", "resampling")
    try:
        check_init_from(recipe.but(init_from=name))
    except HasamaError:
        return False
    same = all(getattr(own, field) == getattr(recipe, field) for field in alike)
    return same and base["channels"] == pictures.report.channels
