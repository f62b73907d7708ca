"""The variational autoencoder (Kingma and Welling 2014): the baseline that GANs beat.

It has DCGAN's convolutions, so that what differs in the pictures is the way of learning. Its loop stands
here too, to be read beside `game.play`: there is no opponent, and so nothing rewards a sharp picture.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from hasama.networks.architectures.dcgan import Generator, halving
from hasama.networks.layers import halvings, small_normal, widths
from hasama.networks.pair import Pair
from hasama.pictures.dataset import Batch
from hasama.shapes import Images, Latents, PerImage, Scalar, largest
from hasama.training.game import Game
from hasama.training.turns import as_batch, begin, descend, finish


@dataclass(frozen=True)
class VAE:
    """Sizes of the encoder and the decoder.

    Attributes:
        width: channels of the layer next to the picture.
        latent_size: length of the code.
    """

    width: int = 64
    latent_size: int = 64

    def build(self, resolution: tuple[int, int], channels: int, classes: int = 0) -> Pair:
        """Any (height, width) of multiples of 8. The encoder sits in the discriminator's chair."""
        decoder = Generator(resolution, channels, 0, self.width, self.latent_size)
        return Pair(decoder, Encoder(resolution, channels, self.width, self.latent_size), self.latent_size)


class Encoder(nn.Module):
    """images [N, C, H, W] -> mean and log variance of the code, [N, 2 Z]."""

    def __init__(self, resolution: tuple[int, int], channels: int, width: int, latent_size: int) -> None:
        super().__init__()
        steps, _ = halvings(resolution)
        inner = [channels, *widths(width, steps)]
        last = (resolution[0] >> steps, resolution[1] >> steps)
        self.halvings = nn.Sequential(*(halving(a, b, True) for a, b in itertools.pairwise(inner)))
        self.judge = nn.Conv2d(inner[-1], 2 * latent_size, last)
        self.apply(small_normal)

    def forward(self, images: Images) -> Latents:
        return self.judge(self.halvings(images)).flatten(1)


class Reconstruction(NamedTuple):
    """One step of `autoencode`; both losses in nats per image."""

    images_seen: int
    shown: int
    reconstruction: Scalar
    divergence: Scalar

    def figures(self) -> dict[str, float]:
        """What goes into the log."""
        return {"loss_reconstruction": self.reconstruction.item(), "loss_divergence": self.divergence.item()}


def autoencode(game: Game, batches: Iterable[Batch | Images]) -> Iterator[Reconstruction]:
    """Auto-encoding variational Bayes: Kingma and Welling 2014, algorithm 1, on mini-batches."""
    for images, _ in map(as_batch, batches):
        begin(game)
        mean, log_variance = game.judge(images).chunk(2, dim=1)
        codes = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)  # the reparametrisation trick
        reconstruction = gaussian_loss(images, largest(game.paint(codes))).mean()
        divergence = kl_divergence(mean, log_variance).mean()
        descend([game.players.generator, game.players.discriminator], reconstruction + divergence)
        finish(game, len(images))
        yield Reconstruction(game.images_seen, len(images), reconstruction.detach(), divergence.detach())


def gaussian_loss(images: Images, again: Images) -> PerImage:
    """-log p(x|z) up to a constant, for a Gaussian whose variance is the batch's own mean squared error.

    Rybkin et al. 2021 (sigma-VAE), section 3.2: the variance that maximises the likelihood needs no tuning. The
    paper of 1312.6114 leaves the variance to a network or fixes it.
    """
    error = (images - again).square().flatten(1)
    variance = error.detach().mean().clamp_min(1e-6)
    return (error / variance + variance.log()).sum(1) / 2


def kl_divergence(mean: Latents, log_variance: Latents) -> PerImage:
    """KL(N(mean, variance) || N(0, 1)): Kingma and Welling 2014, appendix B."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
