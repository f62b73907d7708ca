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


class Kin(NamedTuple):
    """The base whose pictures are the most similar, and how far apart they are, from 0 on."""

    name: str
    apart: float


def apart(one: Look, other: Look) -> float:
    """The squared distance of the means, in units of both spreads together (a Fisher ratio): 0 is the same look."""
    return float((one.mean - other.mean).square().sum() / (one.spread + other.spread).clamp(min=1e-12))


def nearest_base(pictures: Pictures, recipe: Recipe, extractor: Extractor) -> Kin | None:
    """The most similar base with which this recipe can begin, if one is similar enough."""
    looks = {name: look for name in bases.base_names() if (look := load_look(bases.BASES / name))}
    looks = {name: look for name, look in looks.items() if _fits(name, recipe, pictures)}
    if not looks:
        return None
    own = look_of(pictures, extractor)
    name, distance = min(((name, apart(own, look)) for name, look in looks.items()), key=lambda pair: pair[1])
    return Kin(name, distance) if distance <= AKIN else None


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
    same = same and own.width_of_generator <= recipe.width_of_generator
    return same and base["channels"] == pictures.report.channels
