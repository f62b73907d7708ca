"""Which of the bases is of pictures like these: a run that begins there need not begin at nothing."""

from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hasama.errors import HasamaError
from hasama.generators.generator_file import save_tensors
from hasama.metrics.intervals import stream
from hasama.perception.extractors import Extractor, extract_features
from hasama.pictures.dataset import Pictures
from hasama.recipe import Recipe
from hasama.runs import bases
from hasama.runs.folder import Run
from hasama.runs.transfer import check_init_from

SEEN = 200
"""Pictures that are looked at."""
EXTRACTOR = "efficientnet"
FILE = "look.safetensors"
"""In a base's folder: what its pictures look like."""
AKIN = 0.1
"""At most so far apart. Classes of the same collection were 0.04 to 0.05 apart, portraits and emoji 0.20, emoji and
wallpapers 0.15, portraits and digits 0.54."""


class Look(NamedTuple):
    """How a frozen network sees some pictures: their features' mean, and their mean squared distance from it."""

    mean: Float[Tensor, " d"]
    spread: Float[Tensor, ""]


class Kin(NamedTuple):
    """The base whose pictures are the most similar, and how far apart they are, from 0 on."""

    name: str
    apart: float


def look_of(pictures: Pictures, extractor: Extractor) -> Look:
    """What pictures look like, from a random choice of them."""
    some = stream(0).permutation(pictures.at_hand)[:SEEN]
    features = torch.cat(list(extract_features(extractor, pictures.take_in_parts(some)))).float().cpu()
    mean = features.mean(0)
    return Look(mean, (features - mean).square().sum(1).mean())


def apart(one: Look, other: Look) -> float:
    """The squared distance of the means, in units of both spreads together (a Fisher ratio): 0 is the same look."""
    return float((one.mean - other.mean).square().sum() / (one.spread + other.spread).clamp(min=1e-12))


def save_look(look: Look, folder: Path) -> None:
    """Write it into a base's folder.

    Raises:
        HasamaError: that is impossible.
    """
    save_tensors(folder / FILE, look._asdict(), {})


def nearest_base(pictures: Pictures, recipe: Recipe, extractor: Extractor) -> Kin | None:
    """The most similar base with which this recipe can begin, if one is similar enough."""
    looks = {
        name: look for name in bases.base_names() if (look := _look_of_base(name)) and _fits(name, recipe, pictures)
    }
    if not looks:
        return None
    own = look_of(pictures, extractor)
    name, distance = min(((name, apart(own, look)) for name, look in looks.items()), key=lambda pair: pair[1])
    return Kin(name, distance) if distance <= AKIN else None


def _look_of_base(name: str) -> Look | None:
    try:
        return Look(**load_file(bases.BASES / name / FILE))
    except (OSError, SafetensorError, TypeError):
        return None


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
