"""Content as what is like what: each place's likeness to other places is kept, whatever it is painted with.

Self-similarity (Kolkin et al. 2019, STROTSS, equations 6 and 7): features may change altogether, as long as the
distances between them stay in proportion. It keeps content under strong styles, where the squared difference of
features holds on to texture.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from hasama.perception.vgg import Features
from hasama.pictures.tensors import to_device
from hasama.shapes import Activations, Scalar
from hasama.style.canvas.tiles import Tile

PLACES = 1024
"""Of a layer, drawn at random, whose likeness to each other is compared."""
TINY = 1e-8

Found = Float[Tensor, "n c"]


def distances(rows: Found) -> Float[Tensor, "n n"]:
    """Cosine distance of every row to every other, each column divided by its sum."""
    direction = F.normalize(rows.float(), dim=1, eps=TINY)
    apart = (1 - direction @ direction.T).clamp(min=0)
    return apart / (apart.sum(0) + TINY)


class SelfSimilarity(NamedTuple):
    """What is wanted in one layer."""

    places: Int[Tensor, " n"]
    """Which of the layer's places are compared, counted row by row."""
    size: tuple[int, int]
    """(h, w) of the layer."""
    wanted: Float[Tensor, "n n"]
    """The content's `distances`."""

    @classmethod
    def of(cls, activations: Activations, seed: int) -> "SelfSimilarity":
        """That of a content's activations, at places that the seed draws."""
        height, width = activations.shape[2:]
        drawn = torch.Generator().manual_seed(seed % 2**63)
        places = torch.randperm(height * width, generator=drawn)[:PLACES].sort().values
        rows = activations[0].flatten(1).T[places.to(activations.device)]
        return cls(places, (height, width), distances(rows))

    def loss(self, rows: Found) -> Scalar:
        """The mean over places of the sum of absolute differences, 0 to 2.

        Args:
            rows: the canvas's activations at the places, [n, C].
        """
        return (distances(rows) - self.wanted).abs().sum() / len(rows)

    def rows_of(self, tile: Tile, features: Features, layer: str) -> tuple[Found, Int[Tensor, " k"]]:
        """A tile's own activations at those of the places that lie in it, and which of the places these are."""
        down, across = tile.place(layer, *self.size)
        y, x = self.places // self.size[1], self.places % self.size[1]
        here = (y >= down.start) & (y < down.stop) & (x >= across.start) & (x < across.stop)
        own = tile.part(features[layer], layer)[0]
        # the places are chosen on the processor, where that waits for nothing
        inside = (y[here] - down.start, x[here] - across.start, torch.nonzero(here).flatten())
        y, x, which = (to_device(index.numpy(), own.device) for index in inside)
        return own[:, y, x].T.float(), which
