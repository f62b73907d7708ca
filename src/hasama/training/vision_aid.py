"""A second discriminator, on what a frozen network sees, beside the ordinary one.

Kumari et al. 2022, "Ensembling Off-the-shelf Models for GAN Training" (vision-aided GAN): the generator's loss is the
sum of an ordinary discriminator's and of those of heads on frozen networks, eq. 3. A network that was taught to tell
a thousand kinds of things apart knows eyes from noses before the game begins, and cannot learn the training pictures
by heart; the ordinary discriminator sees what that one was taught to ignore.

Departures: one network, EfficientNet-Lite0; a head for each of three sizes of its maps, as in Sauer et al. 2021
(projected GANs), whose logits are summed, where both papers sum their losses; and R1 and R2 at the maps, in place of
label smoothing, so that the heads do not win at once. They cost little, for the penalties' gradients do not go
through the frozen network.
"""

from typing import NamedTuple

import torch
from torch import nn
from torch.optim import Adam

from hasama.networks.feature_heads import FeatureHeads
from hasama.perception.efficientnet import WIDTHS, EfficientNet, load_convolutions
from hasama.perception.extractors import as_photographs, large_enough
from hasama.shapes import Maps, Resized, Views, largest
from hasama.shares import own_random_numbers
from hasama.training.augmentation.augment import Augmented

STRIDES = (8, 16, 32)
SMALLEST = 64
"""Pixels of the shorter side: smaller pictures are enlarged, so that the maps have 8x8, 4x4 and 2x2 places."""
OBSERVED = 256
"""Reals by which the maps are standardised: the first ones of a run."""


class VisionAid(NamedTuple):
    """The second discriminator.

    Attributes:
        network: frozen; a checkpoint does not hold it.
        heads: what learns.
        optimizer: theirs.
    """

    network: EfficientNet
    heads: FeatureHeads
    optimizer: Adam

    def maps(self, images: Views) -> Maps:
        """What the frozen network sees in pictures (the largest of a pyramid): maps [N, C, h, w] of three sizes."""
        seen = self.network.maps(large_enough(as_photographs(largest(images)), SMALLEST), STRIDES)
        return tuple(seen[stride].float() for stride in STRIDES)


class Seen(NamedTuple):
    """Standardised maps of a step's reals, and of its fakes: these are differentiable, back to the generator."""

    real: Maps
    fake: Maps


def new_heads(seed: int, classes: int) -> FeatureHeads:
    """Heads with first weights drawn from the seed."""
    with own_random_numbers(seed):
        return FeatureHeads([WIDTHS[stride] for stride in STRIDES], classes)


def frozen_network(device: torch.device, precision: torch.dtype = torch.float32) -> EfficientNet:
    """The network that sees, its weights kept in the precision in which they are used: casting them takes time.

    Raises:
        HasamaError: the package with its weights is missing, or they are damaged.
    """
    return EfficientNet(load_convolutions(), precision).to(device)


def see(
    aid: VisionAid,
    real: Views,
    fake: Views,
    discriminator: nn.Module,
    images_seen: int,
    whole: Resized | None = None,
) -> Seen:
    """What the frozen network sees of a step's reals and fakes, through transforms as the discriminator has them.

    Args:
        aid: its heads observe the first reals of a run.
        real: reals.
        fake: the generator's pictures.
        discriminator: if it augments, so does this, by transforms of its own.
        images_seen: before this step.
        whole: the reals at the size that the pictures will have, where the networks are still growing: these are
            observed, for small ones have other statistics.
    """
    if isinstance(discriminator, Augmented):
        real, fake = discriminator.transformed(largest(real)), discriminator.transformed(largest(fake))
    with torch.no_grad():
        maps = aid.maps(real)
        if images_seen < OBSERVED:
            aid.heads.observe(maps if whole is None else aid.maps(whole))
    return Seen(aid.heads.standardised(maps), aid.heads.standardised(aid.maps(fake)))
