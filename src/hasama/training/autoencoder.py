"""The loop and the losses of the variational autoencoder (Kingma and Welling 2014).

Read it beside `turns.play`: there is no discriminator, and so nothing rewards a sharp picture.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from hasama.device import exact_kernels, kind_of
from hasama.distributed import averaged, mean_of_all, sharing, whole
from hasama.networks.calling import evaluating
from hasama.pictures.dataset import Batch
from hasama.shapes import Images, Latents, PerImage, Scalar, largest
from hasama.shares import noise_like, own_random_numbers
from hasama.training.game import Game
from hasama.training.graphs import CannotRecordWarning
from hasama.training.reals import as_batches, check_alike
from hasama.training.stepping import begin, count, follow
from hasama.training.turns import descend


class Reconstruction(NamedTuple):
    """One step of `autoencode`; both losses in nats per image."""

    images_seen: int
    shown: int
    reconstruction: Scalar
    divergence: Scalar

    def figures(self) -> dict[str, float]:
        """What goes into the log."""
        return {"loss_reconstruction": self.reconstruction.item(), "loss_divergence": self.divergence.item()}


def autoencode(game: Game, batches: Iterable[Batch | Images | Sequence[Any]]) -> Iterator[Reconstruction]:
    """Auto-encoding variational Bayes: Kingma and Welling 2014, algorithm 1, on mini-batches.

    Args:
        game: from `new_game`; the encoder stands in the discriminator's place.
        batches: real images [N, C, H, W] in [-1, 1], as for `hasama.training.turns.play`.

    Yields:
        A `Reconstruction` after each batch.

    Raises:
        HasamaError: a batch is something else, or of another size than the networks make; or, with --exact, the
            device has no exact form of something.
    """
    weight = next(game.pair.generator.parameters())
    if kind_of(weight.device).graphs:
        warnings.warn("Steps are not recorded as CUDA graphs: a vae's are not.", CannotRecordWarning, stacklevel=2)
    with torch.no_grad(), evaluating(game.pair.generator):  # an enlarged one makes its whole pictures
        made = largest(game.generate(weight.new_zeros(1, game.pair.latent_size)))
    for images, _ in as_batches(batches):
        shown = whole(len(images))
        with own_random_numbers(), sharing(len(images)), exact_kernels(images.device, game.rules.exact):
            begin(game, shown)
            check_alike(images, made)  # here, for there are no fakes beside the reals
            reconstruction, divergence = autoencoder_turn(game, largest(game.pair.view(images)))
        follow(game, shown)
        count(game, shown)
        yield Reconstruction(game.images_seen, shown, reconstruction, divergence)


def autoencoder_turn(game: Game, images: Images) -> tuple[Scalar, Scalar]:
    """Both networks learn together. The mean losses: reconstruction and divergence."""
    mean, log_variance = game.discriminate(images).chunk(2, dim=1)
    latents = mean + torch.exp(log_variance / 2) * noise_like(mean)  # the reparametrisation trick
    reconstruction = gaussian_loss(images, largest(game.generate(latents))).mean()
    divergence = kl_divergence(mean, log_variance).mean()
    descend([game.optimizers.generator, game.optimizers.discriminator], reconstruction + divergence)
    return averaged((reconstruction.detach(), divergence.detach()))


def gaussian_loss(images: Images, again: Images) -> PerImage:
    """-log p(x|z) up to a constant, for a Gaussian whose variance is the batch's own mean squared error.

    Rybkin et al. 2021 (sigma-VAE), section 3.2: the variance that maximises the likelihood needs no tuning. Kingma
    and Welling fix it, or leave it to a network.
    """
    error = (images - again).square().flatten(1)
    variance = mean_of_all(error.detach().mean()).clamp_min(1e-6)
    return (error / variance + variance.log()).sum(1) / 2


def kl_divergence(mean: Latents, log_variance: Latents) -> PerImage:
    """KL(N(mean, variance) || N(0, 1)): Kingma and Welling 2014, appendix B."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
