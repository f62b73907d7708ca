"""How far generated pictures are from the wanted one: by pixels and by features."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hasama.errors import HasamaError
from hasama.generators.generator_file import TrainedGenerator
from hasama.generators.sampling import device_of, draw_latents, labels_for, synthesize, to_w
from hasama.perception.vgg import VGG, Weights
from hasama.perception.vgg_weights import load_weights
from hasama.shapes import Images, Labels, PerImage

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
"""Those of Zhang et al. 2018 without the deepest, whose receptive field covers nearly all of a small picture."""


BEYOND = 20
"""What a generator makes may be well beyond [-1, 1] before it is saved; so far beyond is another scale."""
LARGEST_SIDE = 256
"""Pixels of the longer side that the features are taken from at most: Karras et al. 2020, appendix D."""


# --- the distance ---------------------------------------------------------------------------------


class Target(NamedTuple):
    """The picture that is wanted, and its features."""

    network: VGG
    image: Images
    features: list[Tensor]


def target_of(generator: TrainedGenerator, wanted: Images, weights: Weights | None) -> Target:
    """The wanted picture [1, C, H, W] with its features, on the generator's device.

    Raises:
        HasamaError: the generator's pictures have another form, or the wanted one's numbers are not in [-1, 1].
    """
    device = device_of(generator)
    latents, labels = draw_latents(0, 1, generator.latent_size), labels_for(generator, 1)
    with torch.no_grad():
        made = synthesize(generator, to_w(generator, latents, labels).to(device), moved(labels, device)).shape
    if not isinstance(wanted, Tensor):
        raise HasamaError(f"The wanted picture is a tensor {list(made)}; got {type(wanted).__name__}.")
    if made != wanted.shape:
        raise HasamaError(f"The generator's pictures are {list(made)}, the wanted one is {list(wanted.shape)}.")
    if not (wanted.is_floating_point() and wanted.abs().max() <= BEYOND):  # false for NaN, too
        raise HasamaError("The wanted picture's numbers are floats in [-1, 1]: for pixels, value / 127.5 - 1.")
    network = VGG(weights or load_weights(), LAYERS).to(device)
    wanted = wanted.to(device)
    with torch.no_grad():
        return Target(network, wanted, _extract_features(network, on_white(wanted)))


def _extract_features(network: VGG, colours: Images) -> list[Float[Tensor, "n _c _h _w"]]:
    """Each layer's activations, brought to length 1 at every place: Zhang et al. 2018, section 3, before eq. 1."""
    longer = max(colours.shape[2:])
    if longer > LARGEST_SIDE:
        height, width = (max(1, round(side * LARGEST_SIDE / longer)) for side in colours.shape[2:])
        colours = F.interpolate(colours, (height, width), mode="area")
    return [F.normalize(activations, dim=1, eps=1e-6) for activations in network(colours).values()]


def on_white(images: Images) -> Float[Tensor, "n 3 h w"]:
    """In colour on white: grey in three equal channels, transparent parts white."""
    if images.shape[1] == 1:
        return images.expand(-1, 3, -1, -1)
    if images.shape[1] == 4:
        alpha = (images[:, 3:] + 1) / 2
        return images[:, :3] * alpha + (1 - alpha)
    return images


def pixel_distances(images: Images, wanted: Float[Tensor, "1 c h w"]) -> dict[str, PerImage]:
    """Mean squared errors: of the colours on white, and of alpha where there is one."""
    losses = {"pixels": (on_white(images) - on_white(wanted)).square().mean((1, 2, 3))}
    if images.shape[1] == 4:
        losses["alpha"] = (images[:, 3] - wanted[:, 3]).square().mean((1, 2))
    return losses


def distances(target: Target, images: Images) -> dict[str, PerImage]:
    """The terms of the distance: of pixels, of features and, where there is one, of alpha.

    Features as Zhang et al. 2018, eq. 1, without its learned weights, and the mean of the layers, not the sum.
    """
    found = _extract_features(target.network, on_white(images))
    apart = [(a - b).square().sum(1).mean((1, 2)) for a, b in zip(found, target.features, strict=True)]
    return pixel_distances(images, target.image) | {"features": torch.stack(apart).mean(0)}


def moved(labels: Labels | None, device: torch.device) -> Labels | None:
    """Labels, if there are any, on a device."""
    return None if labels is None else labels.to(device)
