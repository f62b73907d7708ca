"""Directions in the space of w along which the pictures of a generator differ most."""

from contextlib import suppress
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from hasama.errors import HasamaError
from hasama.generators.generator_file import TrainedGenerator, as_generator
from hasama.generators.sampling import draw_latents, generate_from_w, in_batches, is_styled, labels_for, to_w
from hasama.options import whole_number
from hasama.shapes import Labels, Latents
from hasama.shares import own_random_numbers

SAMPLES = 10_000
"""How many w the directions are found from. Of z, four times its length is enough: see `_evenly_spread`."""


class Directions(NamedTuple):
    """Directions to move any w in; first the one along which pictures differ most."""

    steps: Float[Tensor, "count w"]
    """Each as long as the standard deviation of w along it."""
    shares: Float[Tensor, " count"]
    """Of the variance of w; without a mapping network, of the activations of the generator's first layer."""


@torch.no_grad()
def find_directions(generator: TrainedGenerator, count: int, label: str | None = None, seed: int = 0) -> Directions:
    """Principal directions of the w: GANSpace, Härkönen et al. 2020, sections 3.1 and 3.2.

    For w these are its principal components. The latents z vary alike in all directions, so for them the principal
    components of the first layer's activations are carried back to z by linear regression.

    Args:
        generator: whose directions are wanted.
        count: how many. There are no more than w is long: where more are asked for, these are all.
        label: only this class. Without it w of all classes is used; for z the first class, for z is the same in all.
        seed: of the sampled latents, and of the decomposition.

    Raises:
        HasamaError: there is no such class, or no layer whose activations could be used; or a number is not whole, or
            too small.
    """
    generator = as_generator(generator)
    count, seed = whole_number("number of directions", count), whole_number("seed", seed)
    if count < 1:
        raise HasamaError(f"The number of directions must be at least 1; got {count}.")
    if is_styled(generator.network):
        labels = labels_for(generator, SAMPLES, label)
        w = to_w(generator, draw_latents(seed, SAMPLES, generator.latent_size), labels)
        axes, sigmas, shares = _principal(w, count, seed)
        return Directions(axes * sigmas[:, None], shares)
    latents = _evenly_spread(draw_latents(seed, 4 * generator.latent_size + 64, generator.latent_size))
    labels = labels_for(generator, len(latents), next(iter(generator.classes), None) if label is None else label)
    activations = first_activations(generator, latents, labels)
    axes, sigmas, shares = _principal(activations, generator.latent_size, seed)
    places = (activations - activations.mean(0)) @ axes.T  # [N, axes]
    back = torch.linalg.lstsq(places, latents, driver="gelsd").solution  # [axes, Z]: z per unit along each axis
    return Directions((back * sigmas[:, None])[:count], shares[:count])


def _principal(rows: Float[Tensor, "n f"], count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Axes [count, F] of greatest variance, the standard deviations along them and the shares of all variance."""
    centred = rows - rows.mean(0)
    most = min(centred.shape)
    with own_random_numbers(seed):
        _, strengths, axes = torch.pca_lowrank(centred, min(most, count + 16), center=False, niter=3)
    axes, variances = axes.T[:count], strengths[:count].square() / len(rows)
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))  # an axis has no sign of its own
    return axes * largest.sign(), variances.sqrt(), variances / centred.square().sum(1).mean()


def _evenly_spread(latents: Latents) -> Latents:
    """Shifted and turned a little, so that they vary by exactly 1 in every direction.

    The output of a linear layer then has exactly the principal directions that it would have with endless samples.
    """
    centred = latents - latents.mean(0)
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(centred))
    return centred @ (axes / variances.sqrt()) @ axes.T


class _Enough(Exception):  # noqa: N818 (no error)
    """Nothing behind this layer is needed."""


def first_activations(
    generator: TrainedGenerator, latents: Latents, labels: Labels | None = None
) -> Float[torch.Tensor, "n f"]:
    """The activations of the first layer whose output depends on z.

    Raises:
        HasamaError: there is no such layer, as in networks that are not torch's.
    """
    layer = _first_layer(generator, latents[:2], None if labels is None else labels[:1].repeat(2))
    rows: list[Tensor] = []

    def take(layer: nn.Module, given: Any, made: Tensor) -> None:
        rows.append(made.flatten(1).float().cpu())
        raise _Enough

    hook = layer.register_forward_hook(take)
    try:
        for some in in_batches(len(latents)):
            with suppress(_Enough):
                list(generate_from_w(generator, latents[some], None if labels is None else labels[some]))
    finally:
        hook.remove()
    return torch.cat(rows)


def _first_layer(generator: TrainedGenerator, two: Latents, labels: Labels | None) -> nn.Module:
    """The first layer with weights whose output is not the same for two latents."""
    fired: list[nn.Module] = []

    def note(layer: nn.Module, given: Any, made: Any) -> None:
        if isinstance(made, Tensor) and len(made) == 2 and not torch.equal(made[0], made[1]):
            fired.append(layer)

    hooks = [layer.register_forward_hook(note) for layer in generator.network.modules() if _has_weights(layer)]
    try:
        list(generate_from_w(generator, two, labels))
    finally:
        for hook in hooks:
            hook.remove()
    if not fired:  # it does not use the latents, or is not made of torch's modules
        raise HasamaError("The output of no layer of this generator depends on the latents: it has no directions.")
    return fired[0]


def _has_weights(layer: nn.Module) -> bool:
    """Weights of its own, as they are or computed from others."""
    if isinstance(layer, ParametrizationList):
        return False
    own = [*layer.parameters(recurse=False), getattr(layer, "weight", None)]
    return any(isinstance(weight, Tensor) and weight.ndim > 1 for weight in own)
