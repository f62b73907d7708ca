"""Bases: small run folders that ship with the package, to begin with (--init-from NAME) or to sample at once.

A base is what a long training came to: `recipe.json`, `images.json`, `generator.safetensors`, and a `game.pt` of the
networks' weights alone, all in float16; `base.json` says what it was trained on, by whom the pictures are, and under
which licence. Everything that reads a run folder reads it.
"""

from pathlib import Path
from typing import Any

from hasama.files import read_json
from hasama.names import at_home
from hasama.runs.folder import Run

BASES = Path(__file__).parents[1] / "weights" / "bases"


def base_names() -> list[str]:
    """The bases that ship."""
    return sorted(place.parent.name for place in BASES.glob("*/recipe.json"))


def place_named(place: str | Path) -> Path:
    """A run folder or a file as it was given; or, if there is none of that name, the base of that name."""
    given = at_home(place)
    if str(place) in base_names() and not (given.is_file() or Run(given).exists()):
        return BASES / str(place)
    return given


def is_base(place: str | Path) -> bool:
    """Whether this names a base, and nothing else."""
    return place_named(place).parent == BASES


def about_base(name: str) -> dict[str, Any]:
    """What `base.json` says: `pictures`, `authors`, `licence` and `kimg`.

    Raises:
        HasamaError: it is missing or damaged.
    """
    return read_json(BASES / name / "base.json", "description of a base")
