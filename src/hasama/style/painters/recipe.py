"""Everything that decides how a painter is taught, in one frozen dataclass."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hasama.errors import HasamaError
from hasama.options import check_fields, flag, option
from hasama.style.recipe import Layered

Padding = Literal["replicate", "zeros"]
"""What convolutions of a painter see beyond an edge."""


@dataclass(frozen=True)
class TeachRecipe(Layered):
    """How to teach a painter.

    Raises:
        HasamaError: a value is of the wrong kind or out of range.
    """

    kimg: float = option(6.0, "Length: thousands of crops that are painted.", 0.001, 1e6)
    crop: int = option(160, "Side of a crop, in pixels.", 32, 1024)
    batch: int = option(4, "Crops a step.", 1, 256)
    style_size: int = option(
        400, "Shorter side of the paintings, in pixels: larger, and strokes are broader.", 16, 4096
    )
    content_weight: float = option(0.15, "Weight of the content loss; less: more style.", 0)
    style_weight: float = option(1.0, "Weight of the style loss.", 0)
    tv_weight: float = option(0.02, "Weight of the total variation: smoothness.", 0)
    style_loss: Literal["wasserstein", "gram"] = option(
        "wasserstein", "How styles are compared: as Gaussians of features (wasserstein) or by Gram matrices (gram)."
    )
    content_layers: str = option("relu3_3", "Layers that keep the content, with weights.")
    style_layers: str = option("relu1_1,relu2_1,relu3_1,relu4_1", "Layers that carry the style, with weights.")
    learning_rate: float = option(2e-3, "Adam's rate at first; it falls to a hundredth.", 0, 1)
    clip: float = option(1.0, "Longest gradient.", 0)
    width: int = option(32, "Channels of the painter at half the size.", 4, 256)
    padding: Padding = option("replicate", "What the painter sees beyond a picture's edges.")
    seed: int = option(0, "Seed of weights, crops and styles.", 0, 2**63 - 1)

    def __post_init__(self) -> None:
        check_fields(self)
        self.check_layers()
        if self.content_weight == 0 and self.style_weight == 0:
            raise HasamaError("With --content-weight 0 and --style-weight 0 there is nothing to learn.")
        for name in ("learning_rate", "clip"):
            if getattr(self, name) == 0:
                raise HasamaError(f"With {flag(name)} 0 nothing is learnt.")

    @property
    def images(self) -> int:
        """The length in crops."""
        return max(1, round(self.kimg * 1000))

    def rate_at(self, images_seen: int) -> float:
        """The learning rate: it rises over the first hundredth, and falls along a cosine."""
        done = min(1.0, images_seen / self.images)
        rising = min(1.0, (done + 1e-3) / 0.01)
        return self.learning_rate * rising * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them."""
        return dataclasses.asdict(self)


TEACH_GROUPS: dict[str, tuple[str, ...]] = {
    "Most used": ("kimg", "crop", "style_size", "content_weight", "style_weight", "tv_weight", "seed"),
    "Teaching": (
        "batch", "style_loss", "content_layers", "style_layers", "learning_rate", "clip", "width", "padding",
    ),
}  # fmt: skip
"""All fields by what they are about, those that people need first at the top."""

PAINTING_FIELDS = ("strength", "keep_colour", "size")
"""Of `StyleRecipe`, what means something for a painter."""

BEFORE_THEY_WERE: dict[str, Any] = {"style_loss": "gram", "padding": "zeros"}
"""What was done before there were these fields."""

TEACH_DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(TeachRecipe)}


def check_painting_fields(changes: Mapping[str, Any]) -> None:
    """Before any work: can a painter do what is asked of it?

    Args:
        changes: fields of `StyleRecipe` and other flags of `hasama style`.

    Raises:
        HasamaError: it cannot.
    """
    if other := next((name for name in changes if name not in PAINTING_FIELDS), None):
        raise HasamaError(
            f"{flag(other)} does not apply to a painter, which takes --size, --keep-colour, --strength, --mix."
        )
    if changes.get("keep_colour") == "histogram":
        raise HasamaError("A painter keeps colours by --keep-colour luminance.")
