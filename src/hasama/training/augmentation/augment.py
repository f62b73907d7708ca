"""Augmentation of all images that go into the discriminator: DiffAugment and adaptive augmentation (ADA).

With few pictures a discriminator learns them by heart. It cannot if they are shifted, recoloured and cut; and as the
fakes go through the same transforms, the generator does not learn the transforms. Zhao et al. 2020, section 3.2, eq.
4 and 5; Karras et al. 2020 ('Training generative adversarial networks with limited data'), section 2.1.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hasama.shapes import Images, Labels, Scalar, Views, each, largest
from hasama.training.augmentation.ada import draw_transforms, transform
from hasama.training.augmentation.diffaugment import change, draw_changes

STEPS = 4  # Karras et al. 2020, section 3: p moves once in four steps


class Augment(NamedTuple):
    """A family of random transforms.

    Attributes:
        draw: (the largest pictures, p) -> random numbers for each picture; they serve every level of a pyramid.
        apply: (pictures of one level, what was drawn) -> pictures, linear or affine in them.
        target: the share r_t that ADA steers to; None if p is not steered.
        first: p before anything is steered.
        images: within how many images p could go from 0 to 1.
    """

    draw: Callable[[Images, Scalar], Any]
    apply: Callable[[Images, Any], Images]
    target: float | None = None
    images: float = 100_000
    first: float = 1.0


class Augmented(nn.Module):
    """A discriminator with random transforms in front of it, for reals and fakes, in evaluation too.

    Penalties differentiate with respect to the pictures before the transforms.
    """

    probability: Tensor
    leaning: Tensor
    shown: Tensor
    steps: Tensor

    def __init__(self, discriminator: nn.Module, augment: Augment) -> None:
        super().__init__()
        self.discriminator, self.augment = discriminator, augment
        self.register_buffer("probability", torch.tensor(augment.first))
        for running in ("leaning", "shown", "steps"):  # sums since p last moved; in buffers, to resume exactly
            self.register_buffer(running, torch.tensor(0.0))

    def forward(self, views: Views, labels: Labels | None = None) -> Tensor:
        """Logits of pictures, or of pyramids, transformed."""
        views = self.transformed(views)
        return self.discriminator(views) if labels is None else self.discriminator(views, labels)

    def transformed(self, views: Views) -> Views:
        """Pictures, or pyramids, after random transforms; one draw of them for all levels."""
        top = largest(views)
        with torch.autocast(top.device.type, enabled=False):  # positions need more than bfloat16's 8 bits
            drawn = self.augment.draw(top, self.probability)
            return each(lambda level: self.augment.apply(precise(level), drawn).to(level.dtype), views)

    @torch.no_grad()
    def adapt(self, right: Scalar, count: int) -> None:
        """Augment more if the discriminator is too sure of the reals, else less: Karras et al. 2020, section 3.

        The heuristic of overfitting is r_t = E[sign(D(x))] over the reals x of four steps (eq. 1). Departure: p stops
        at 1; theirs may go beyond, where it means no more. This never waits for the device.

        Args:
            right: the share of this step's reals that the discriminator classified as real.
            count: how many reals there were.
        """
        if self.augment.target is None:
            return
        self.leaning += 2 * right.to(self.leaning) - 1
        self.shown += count
        self.steps += 1
        due = self.steps >= STEPS
        move = torch.sign(self.leaning / self.steps - self.augment.target) * self.shown / self.augment.images
        self.probability.copy_((self.probability + due * move).clamp(0, 1))
        for running in (self.leaning, self.shown, self.steps):
            running *= ~due


def augmented(discriminator: nn.Module, name: str, target: float | None = 0.6, images: float = 100_000) -> nn.Module:
    """The discriminator behind the transforms of that name in `AUGMENTS`; itself for 'none'.

    Args:
        discriminator: logits of pictures, or of pyramids.
        name: which transforms.
        target: ADA's r_t, Karras et al. 2020, section 3; None if its p is set from elsewhere.
        images: within how many images ADA's p could go from 0 to 1. Theirs is 500,000; people's runs are shorter.
    """
    augment = AUGMENTS[name]
    if augment is None:
        return discriminator
    if augment.target is not None:
        augment = augment._replace(target=target, images=images)
    return Augmented(discriminator, augment)


def precise(images: Images) -> Images:
    """At least float32, and row by row: twice as fast here as the channels-last layout that convolutions prefer."""
    return (images if images.dtype == torch.float64 else images.float()).contiguous()


AUGMENTS: dict[str, Augment | None] = {
    "none": None,
    "diffaugment": Augment(draw_changes, change),
    "ada": Augment(draw_transforms, transform, target=0.6, first=0.0),
}
