"""How a painter learns: it paints crops, and a frozen network says how far they are from the style and the photo.

Johnson et al. 2016, equation 5, with the losses that `hasama style` minimises over a canvas: content as the squared
difference of activations, style as the distance of Gaussians or of Gram matrices, each measured by how far an empty
picture would be, and total variation.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from hasama.device import lay_out
from hasama.distributed import average_gradients, averaged, own, sharing
from hasama.errors import HasamaError
from hasama.optimizers import Adam
from hasama.perception.vgg import VGG
from hasama.shapes import Images, Scalar
from hasama.shares import own_random_numbers
from hasama.style.methods.losses import STYLE_LOSSES, Distance, from_nothing, total_variation
from hasama.style.methods.moments import moments
from hasama.style.painters.painter import Painter
from hasama.style.painters.recipe import TeachRecipe

IDENTITY_EVERY = 6
"""Of so many pictures one is to stay as it is."""
IDENTITY_WEIGHT = 2.0
KINDS = ("tv", "identity", "content", "style")
"""Of losses."""


@runtime_checkable
class Crops(Protocol):
    """Whatever gives pictures to paint."""

    def crops(self, count: int, random: torch.Generator) -> Images:
        """[count, 3, side, side] in [-1, 1]."""
        ...


class Lesson(NamedTuple):
    """One step of `teach`.

    Attributes:
        images_seen: crops painted so far.
        total: in all.
        losses: weighted, by kind: content, style, tv, identity.
        notice: something to tell.
    """

    images_seen: int
    total: int
    losses: dict[str, float]
    notice: str = ""


class School:
    """A painter, its teacher and its optimizer: all that has memory stands in `state_dict`.

    Args:
        styles: the paintings, [1, 3, H, W] in [-1, 1] each, at the size at which strokes are to be learnt.
        network: frozen, with the layers of the recipe.
        recipe: how to teach.
        device: where.
    """

    def __init__(self, styles: list[Tensor], network: VGG, recipe: TeachRecipe, device: torch.device) -> None:
        self.recipe, self.network, self.device = recipe, network, device
        with own_random_numbers(recipe.seed, cards=True):
            self.painter = Painter(len(styles), recipe.width, recipe.padding).to(device)
            lay_out(self.painter, device)
        self.optimizer = Adam(self.painter.parameters(), recipe.learning_rate, betas=(0.9, 0.99))
        self.images_seen = 0
        self.wanted = [self._style(style.to(device)) for style in styles]

    @torch.no_grad()
    def _style(self, style: Images) -> dict[str, tuple[Distance, float]]:
        """In each layer the distance from a style, and how far from it nothing is."""
        features, found = self.network(style), {}
        for layer in self.recipe.style:
            wanted = moments(features[layer])
            distance = STYLE_LOSSES[self.recipe.style_loss](wanted)
            found[layer] = distance, from_nothing(distance, wanted) + 1e-12
        return found

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers."""
        return {
            "images_seen": self.images_seen,
            "painter": self.painter.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.painter.load_state_dict(state["painter"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.images_seen = state["images_seen"]

    def step(self, photos: Images, random: torch.Generator) -> dict[str, float]:
        """Learn from some crops: each gets a style at random, and some are to stay as they are.

        Of several processes (see `hasama.distributed`) each is given all crops, and paints its share.
        """
        kinds = torch.randint(1, self.painter.styles + 1, (len(photos),), generator=random)
        kinds[torch.randint(0, IDENTITY_EVERY, (len(photos),), generator=random) == 0] = 0
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate_at(self.images_seen)
        self.images_seen += len(photos)
        photos, kinds = own(photos).to(self.device), own(kinds)
        with sharing(len(photos)):
            return self._learn(photos, kinds)

    def _learn(self, photos: Images, kinds: Tensor) -> dict[str, float]:
        mix = F.one_hot(kinds, self.painter.styles + 1).float().to(self.device)
        losses = self._losses(self.painter(photos, mix), photos, kinds)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        average_gradients(self.painter.parameters())
        torch.nn.utils.clip_grad_norm_(self.painter.parameters(), self.recipe.clip)
        self.optimizer.step()
        absent = torch.zeros((), device=self.device)  # in this share, perhaps not in others
        told = averaged({name: losses.get(name, absent).detach() for name in KINDS})
        return {name: float(value) for name, value in told.items() if value}

    def _losses(self, painted: Images, photos: Images, kinds: Tensor) -> dict[str, Scalar]:
        recipe, count = self.recipe, len(photos)
        box = (0, photos.shape[2], 0, photos.shape[3])
        losses = {"tv": recipe.tv_weight * total_variation(painted, box) / painted.numel()}
        same, changed = kinds == 0, torch.nonzero(kinds).flatten()
        if same.any():
            losses["identity"] = IDENTITY_WEIGHT * (painted[same] - photos[same]).abs().mean() * same.sum() / count
        if not len(changed):
            return losses
        with torch.no_grad():
            wanted = {layer: self.network(photos[changed])[layer].float() for layer in recipe.content}
        found = self.network(painted[changed])
        content = torch.zeros((), device=self.device)
        for layer, share in recipe.content.items():
            empty = wanted[layer].square().mean((1, 2, 3), keepdim=True) + 1e-8
            content = (
                content + share * ((found[layer].float() - wanted[layer]).square() / empty).mean((1, 2, 3)).sum()
            )
        style = torch.zeros((), device=self.device)
        for layer, share in recipe.style.items():
            for number, index in enumerate(changed.tolist()):
                distance, nothing = self.wanted[int(kinds[index]) - 1][layer]
                style = style + share / nothing * distance(moments(found[layer][number : number + 1]))
        losses["content"] = recipe.content_weight * content / count
        losses["style"] = recipe.style_weight * style / count
        return losses


def teach(school: School, photos: Crops) -> Iterator[Lesson]:
    """Go on until the recipe's length is reached; which crops a step sees depends on its number alone.

    Raises:
        HasamaError: a loss is no longer a number.
    """
    recipe = school.recipe
    while school.images_seen < recipe.images:
        random = torch.Generator().manual_seed((recipe.seed * 1_000_003 + school.images_seen) % 2**63)
        try:
            losses = school.step(photos.crops(recipe.batch, random), random)
        except torch.linalg.LinAlgError:  # what is no number has no eigenvalues
            losses = {"style": math.nan}
        if not all(map(math.isfinite, losses.values())):
            raise HasamaError("Teaching broke down: a loss is no longer a number. Try a lower --learning-rate.")
        yield Lesson(school.images_seen, recipe.images, losses)
